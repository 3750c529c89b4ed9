#include "runtime/thread_comm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>

#include "ops/dtype.h"
#include "ops/numbers.h"

namespace ingot {
namespace {

constexpr size_t block = 256;  // elements that are reduced at a time
constexpr size_t small_bytes = 1 << 16;
constexpr size_t line_bytes = 256;  // parts of ranks begin at a multiple, so that no two write into one cache line

float larger(float a, float b) { return std::isnan(a) || a > b ? a : b; }
int32_t larger(int32_t a, int32_t b) { return std::max(a, b); }

float wide(float x) { return x; }
int32_t wide(int32_t x) { return x; }

struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};
float wide(Half x) { return from_f16(x.bits); }
float wide(Brain x) { return from_bf16(x.bits); }
void narrow(float x, float &to) { to = x; }
void narrow(int32_t x, int32_t &to) { to = x; }
void narrow(float x, Half &to) { to.bits = to_f16(x); }
void narrow(float x, Brain &to) { to.bits = to_bf16(x); }

// Elements [begin, end) of every `in`, in this order, into every `out`. An `out` may be one of the `in`.
template <class T>
void reduce(std::span<const void *const> in, std::span<void *const> out, size_t begin, size_t end, int32_t reduction) {
  using Wide = decltype(wide(T{}));
  std::array<Wide, block> result;
  std::array<T, block> rounded;
  for (size_t first = begin; first < end; first += block) {
    const size_t count = std::min(block, end - first);
    for (size_t r = 0; r < in.size(); ++r) {
      const T *from = static_cast<const T *>(in[r]) + first;
      if (r == 0) {
        for (size_t i = 0; i < count; ++i) result[i] = wide(from[i]);
      } else if (reduction == INGOT_MAX) {
        for (size_t i = 0; i < count; ++i) result[i] = larger(wide(from[i]), result[i]);
      } else {
        for (size_t i = 0; i < count; ++i) result[i] = result[i] + wide(from[i]);
      }
    }
    for (size_t i = 0; i < count; ++i) narrow(result[i], rounded[i]);
    for (void *to : out) std::memcpy(static_cast<T *>(to) + first, rounded.data(), count * sizeof(T));
  }
}

std::string words(const char *kind, size_t count, int32_t dtype) {
  return std::string(kind) + " of " + std::to_string(count) + " " + dtype_name(dtype);
}

}  // namespace

ThreadComm::ThreadComm(int32_t ranks) : members_(static_cast<size_t>(ranks)), barrier_(ranks) {
  for (int32_t rank = 0; rank < ranks; ++rank) {
    Member &own = members_[static_cast<size_t>(rank)];
    own.group = this;
    for (auto &copy : own.copies) copy.resize(small_bytes / sizeof(std::max_align_t));
    own.in.resize(members_.size());
    own.out.resize(members_.size());
    own.comm = {sizeof(IngotComm), INGOT_COMM_ABI, rank,    ranks,      all_reduce,
                all_gather,        broadcast,      barrier, last_error, &own};
  }
}

void ThreadComm::fail(const std::string &sentence) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_.empty()) failure_ = sentence.empty() ? "a rank failed and said nothing" : sentence;
  }
  barrier_.break_up();
}

std::string ThreadComm::failure() {
  const std::lock_guard lock(mutex_);
  return failure_;
}

int ThreadComm::refuse(Member &own, const std::string &sentence) {
  fail(sentence);
  own.error = failure();
  return 1;
}

// Everybody says what it calls, and meets the others.
int ThreadComm::run(Member &own, const Call &call) {
  const size_t turn = own.turn;
  own.turn ^= 1;
  const auto bytes = static_cast<size_t>(bytes_of_elements(call.dtype, static_cast<int64_t>(call.count)));
  const bool small = bytes <= small_bytes;
  own.calls[turn] = call;
  if (small && bytes > 0) {
    std::memcpy(own.copies[turn].data(), call.in, bytes);
    own.calls[turn].in = own.copies[turn].data();
  }
  if (!barrier_.wait()) return refuse(own, "");
  if (const std::string sentence = disagreement(turn); !sentence.empty()) return refuse(own, sentence);
  for (size_t other = 0; other < members_.size(); ++other) {
    own.in[other] = members_[other].calls[turn].in;
    own.out[other] = members_[other].calls[turn].out;
  }
  if (bytes > 0) carry_out(own, call, bytes, small);
  return small || barrier_.wait() ? 0 : refuse(own, "");
}

// Every rank finds the same.
std::string ThreadComm::disagreement(size_t turn) const {
  const auto said = [](const Call &call) {
    switch (call.kind) {
      case Kind::all_reduce:
        return words(call.option == INGOT_MAX ? "all_reduce(max)" : "all_reduce(sum)", call.count, call.dtype);
      case Kind::all_gather:
        return words("all_gather", call.count, call.dtype);
      case Kind::broadcast:
        return words("broadcast", call.count, call.dtype) + " from rank " + std::to_string(call.option);
      default:
        return std::string("barrier");
    }
  };
  const Call &first = members_[0].calls[turn];
  for (size_t rank = 1; rank < members_.size(); ++rank) {
    const Call &call = members_[rank].calls[turn];
    const bool same = call.kind == first.kind && call.dtype == first.dtype && call.option == first.option &&
                      call.count == first.count;
    if (!same) {
      return "ranks disagree: rank " + std::to_string(rank) + " calls " + said(call) + " where rank 0 calls " +
             said(first) + "; build the engine again";
    }
  }
  return "";
}

void ThreadComm::carry_out(Member &own, const Call &call, size_t bytes, bool small) {
  const auto rank = static_cast<size_t>(own.comm.rank), ranks = members_.size();
  if (call.kind == Kind::all_gather) {
    for (size_t other = 0; other < ranks; ++other) {
      uint8_t *place = static_cast<uint8_t *>(call.out) + other * bytes;
      if (place != own.in[other]) std::memcpy(place, own.in[other], bytes);
    }
    return;
  }
  if (call.kind == Kind::broadcast) {
    const auto root = static_cast<size_t>(call.option);
    if (rank != root) std::memcpy(call.out, own.in[root], bytes);
    return;
  }
  const size_t unit = line_bytes / (bytes / call.count), units = (call.count + unit - 1) / unit;
  const size_t begin = small ? 0 : std::min(call.count, units * rank / ranks * unit);
  const size_t end = small ? call.count : std::min(call.count, units * (rank + 1) / ranks * unit);
  const std::span<void *const> out = small ? std::span(own.out).subspan(rank, 1) : std::span(own.out);
  switch (call.dtype) {
    case INGOT_F32:
      return reduce<float>(own.in, out, begin, end, call.option);
    case INGOT_I32:
      return reduce<int32_t>(own.in, out, begin, end, call.option);
    case INGOT_F16:
      return reduce<Half>(own.in, out, begin, end, call.option);
    default:
      return reduce<Brain>(own.in, out, begin, end, call.option);
  }
}

int ThreadComm::all_reduce(IngotComm *comm, const void *in, void *out, size_t count, int32_t dtype, int32_t reduction,
                           void *) {
  Member &own = member(comm);
  const bool known = dtype == INGOT_F32 || dtype == INGOT_F16 || dtype == INGOT_BF16 || dtype == INGOT_I32;
  if (!known || (reduction != INGOT_SUM && reduction != INGOT_MAX)) {
    return own.group->refuse(own, "all_reduce of " + std::string(dtype_name(dtype)) + " by reduction " +
                                      std::to_string(reduction) + " is not offered: f32, f16, bf16, i32 by sum or max");
  }
  return own.group->run(own, {Kind::all_reduce, dtype, reduction, count, in, out});
}

int ThreadComm::all_gather(IngotComm *comm, const void *in, void *out, size_t count, int32_t dtype, void *) {
  Member &own = member(comm);
  return own.group->run(own, {Kind::all_gather, dtype, 0, count, in, out});
}

int ThreadComm::broadcast(IngotComm *comm, void *data, size_t count, int32_t dtype, int32_t root, void *) {
  Member &own = member(comm);
  if (root < 0 || root >= own.group->ranks())
    return own.group->refuse(own, "broadcast from rank " + std::to_string(root) + ", which there is not");
  return own.group->run(own, {Kind::broadcast, dtype, root, count, data, data});
}

int ThreadComm::barrier(IngotComm *comm, void *) {
  Member &own = member(comm);
  return own.group->run(own, {Kind::barrier, INGOT_U8, 0, 0, nullptr, nullptr});
}

const char *ThreadComm::last_error(IngotComm *comm) { return member(comm).error.c_str(); }

}  // namespace ingot
