// Collectives between threads: equal to a loop over the ranks in order, the
// same bits everywhere, in place or not; ranks that disagree or fail let all
// others go.
#undef NDEBUG
#include <array>
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "ingot_op.h"
#include "ops/dtype.h"
#include "ops/numbers.h"
#include "runtime/thread_comm.h"
#include "small_folder.h"

using namespace ingot;

namespace {

constexpr int32_t types[] = {INGOT_F32, INGOT_F16, INGOT_BF16, INGOT_I32};

// Calls body(comm) on a thread for every rank.
void on_ranks(ThreadComm &group, const std::function<void(IngotComm *)> &body) {
  std::vector<std::thread> threads;
  for (int32_t rank = 0; rank < group.ranks(); ++rank)
    threads.emplace_back([&, rank] { body(group.of(rank)); });
  for (std::thread &thread : threads)
    thread.join();
}

using Bytes = std::vector<uint8_t>;

// `count` numbers of `dtype` that differ from rank to rank.
Bytes numbers(int32_t dtype, size_t count, int32_t rank) {
  std::mt19937 random(static_cast<uint32_t>(rank * 1000 + dtype));
  std::normal_distribution<float> normal(0, 3);
  Bytes bytes(static_cast<size_t>(
      bytes_of_elements(dtype, static_cast<int64_t>(count))));
  for (size_t i = 0; i < count; ++i) {
    const float x = normal(random);
    if (dtype == INGOT_F32)
      reinterpret_cast<float *>(bytes.data())[i] = x;
    if (dtype == INGOT_F16)
      reinterpret_cast<uint16_t *>(bytes.data())[i] = to_f16(x);
    if (dtype == INGOT_BF16)
      reinterpret_cast<uint16_t *>(bytes.data())[i] = to_bf16(x);
    if (dtype == INGOT_I32)
      reinterpret_cast<int32_t *>(bytes.data())[i] =
          static_cast<int32_t>(x * 100);
  }
  return bytes;
}

// What all_reduce promises, one element at a time.
Bytes reduced(int32_t dtype, size_t count, int32_t ranks, int32_t reduction) {
  std::vector<Bytes> of;
  for (int32_t rank = 0; rank < ranks; ++rank)
    of.push_back(numbers(dtype, count, rank));
  Bytes result(of[0].size());
  for (size_t i = 0; i < count; ++i) {
    float sum = read_float(of[0].data(), dtype, static_cast<int64_t>(i));
    for (int32_t rank = 1; rank < ranks; ++rank) {
      const float x = read_float(of[static_cast<size_t>(rank)].data(), dtype,
                                 static_cast<int64_t>(i));
      sum = reduction == INGOT_SUM ? sum + x : std::max(sum, x);
    }
    if (dtype == INGOT_F32)
      reinterpret_cast<float *>(result.data())[i] = sum;
    if (dtype == INGOT_F16)
      reinterpret_cast<uint16_t *>(result.data())[i] = to_f16(sum);
    if (dtype == INGOT_BF16)
      reinterpret_cast<uint16_t *>(result.data())[i] = to_bf16(sum);
    if (dtype == INGOT_I32)
      reinterpret_cast<int32_t *>(result.data())[i] = static_cast<int32_t>(sum);
  }
  return result;
}

void test_all_reduce() {
  for (const int32_t ranks : {1, 2, 3, 5}) {
    ThreadComm group(ranks);
    for (const int32_t dtype : types) {
      for (const int32_t reduction : {INGOT_SUM, INGOT_MAX}) {
        for (const size_t count :
             {size_t{0}, size_t{1}, size_t{7}, size_t{1000}, size_t{40001}}) {
          const Bytes want = reduced(dtype, count, ranks, reduction);
          on_ranks(group, [&](IngotComm *comm) {
            const Bytes in = numbers(dtype, count, comm->rank);
            Bytes out(in.size()), both = in;
            assert(comm->all_reduce(comm, in.data(), out.data(), count, dtype,
                                    reduction, nullptr) == 0);
            assert(comm->all_reduce(comm, both.data(), both.data(), count,
                                    dtype, reduction, nullptr) == 0);
            assert(out == want && both == want &&
                   in == numbers(dtype, count, comm->rank));
          });
        }
      }
    }
    assert(group.failure().empty());
  }
}

void test_a_nan_is_the_largest() {
  ThreadComm group(3);
  for (int32_t where = 0; where < 3; ++where) {
    on_ranks(group, [&](IngotComm *comm) {
      float x = comm->rank == where ? std::nanf("") : 1.f;
      assert(comm->all_reduce(comm, &x, &x, 1, INGOT_F32, INGOT_MAX, nullptr) ==
                 0 &&
             std::isnan(x));
    });
  }
}

void test_gather_and_broadcast() {
  for (const int32_t ranks : {1, 2, 4}) {
    ThreadComm group(ranks);
    for (const size_t count : {size_t{0}, size_t{3}, size_t{50000}}) {
      Bytes all;
      for (int32_t rank = 0; rank < ranks; ++rank) {
        const Bytes own = numbers(INGOT_F32, count, rank);
        all.insert(all.end(), own.begin(), own.end());
      }
      on_ranks(group, [&](IngotComm *comm) {
        const Bytes in = numbers(INGOT_F32, count, comm->rank);
        Bytes out(all.size()), both(all.size());
        uint8_t *place =
            both.data() + in.size() * static_cast<size_t>(comm->rank);
        if (count)
          std::memcpy(place, in.data(), in.size());
        assert(comm->all_gather(comm, in.data(), out.data(), count, INGOT_F32,
                                nullptr) == 0 &&
               out == all);
        assert(comm->all_gather(comm, place, both.data(), count, INGOT_F32,
                                nullptr) == 0 &&
               both == all);
        for (int32_t root = 0; root < ranks; ++root) {
          Bytes data = in;
          assert(comm->broadcast(comm, data.data(), count, INGOT_F32, root,
                                 nullptr) == 0);
          assert(data == numbers(INGOT_F32, count, root));
        }
      });
    }
  }
}

// Many small messages one after the other, of lengths that make them take
// either way.
void test_many_in_a_row() {
  ThreadComm group(3);
  on_ranks(group, [](IngotComm *comm) {
    std::vector<float> x(20000);
    for (size_t round = 0; round < 2000; ++round) {
      const size_t count = round % 50 ? 1 + round % 7 : x.size();
      for (size_t i = 0; i < count; ++i)
        x[i] =
            static_cast<float>(round + i) * static_cast<float>(comm->rank + 1);
      assert(comm->all_reduce(comm, x.data(), x.data(), count, INGOT_F32,
                              INGOT_SUM, nullptr) == 0);
      for (size_t i = 0; i < count; ++i)
        assert(x[i] == 6.f * static_cast<float>(round + i));
      if (round % 11 == 0)
        assert(comm->barrier(comm, nullptr) == 0);
    }
  });
}

void test_disagreements_are_told_to_all() {
  const auto told = [](const char *words,
                       const std::function<int(IngotComm *)> &call) {
    ThreadComm group(2);
    on_ranks(group, [&](IngotComm *comm) {
      assert(call(comm) != 0 && contains(comm->last_error(comm), words));
      assert(comm->barrier(comm, nullptr) != 0 &&
             contains(comm->last_error(comm), words));
    });
  };
  told("rank 1 calls all_reduce(sum) of 3 f32 where rank 0 calls "
       "all_reduce(sum) of 2 f32",
       [](IngotComm *comm) {
         float x[3] = {};
         return comm->all_reduce(comm, x, x,
                                 static_cast<size_t>(2 + comm->rank), INGOT_F32,
                                 INGOT_SUM, nullptr);
       });
  told("rank 1 calls barrier where rank 0 calls all_reduce(max) of 2 f32",
       [](IngotComm *comm) {
         float x[2] = {};
         return comm->rank ? comm->barrier(comm, nullptr)
                           : comm->all_reduce(comm, x, x, 2, INGOT_F32,
                                              INGOT_MAX, nullptr);
       });
  told("rank 1 calls broadcast of 1 i32 from rank 1", [](IngotComm *comm) {
    int32_t x = 0;
    return comm->broadcast(comm, &x, 1, INGOT_I32, comm->rank, nullptr);
  });
  told("all_reduce of u8 by reduction 0 is not offered", [](IngotComm *comm) {
    uint8_t x = 0;
    return comm->all_reduce(comm, &x, &x, 1, INGOT_U8, INGOT_SUM, nullptr);
  });
  told("broadcast from rank 2, which there is not", [](IngotComm *comm) {
    int32_t x = 0;
    return comm->broadcast(comm, &x, 1, INGOT_I32, 2, nullptr);
  });
}

// Those who spin and those who sleep already.
void test_a_rank_that_fails_lets_the_others_go() {
  for (const int wait : {0, 20}) {
    ThreadComm group(3);
    on_ranks(group, [&](IngotComm *comm) {
      float x = 1;
      assert(comm->all_reduce(comm, &x, &x, 1, INGOT_F32, INGOT_SUM, nullptr) ==
                 0 &&
             x == 3);
      if (comm->rank == 1) {
        std::this_thread::sleep_for(std::chrono::milliseconds(wait));
        group.fail("rank 1: its memory is gone");
        group.fail("a later sentence");
        return;
      }
      assert(comm->all_reduce(comm, &x, &x, 1, INGOT_F32, INGOT_SUM, nullptr) !=
             0);
      assert(std::string(comm->last_error(comm)) ==
             "rank 1: its memory is gone");
    });
    assert(group.failure() == "rank 1: its memory is gone");
  }
}

} // namespace

int main() {
  test_all_reduce();
  test_a_nan_is_the_largest();
  test_gather_and_broadcast();
  test_many_in_a_row();
  test_disagreements_are_told_to_all();
  test_a_rank_that_fails_lets_the_others_go();
  std::puts("thread_comm: ok");
}
