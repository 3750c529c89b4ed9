// begin_step of ingot_device.h: one kernel copies a step's small numbers from pinned memory to where the ops read them.
//
// The GPU reads the host's memory itself, over PCIe: every word is loaded once, in full lines, all of them in flight
// together, so that a step waits for one round trip. What -1 among the ids needs, sequences and slots, is read from the
// ring's block too: no block of threads waits for another's copy.
#include <cstdint>

#include "cuda/device.h"
#include "cuda/errors.h"
#include "ops/cuda/launch.h"

namespace ingot::cuda {
namespace {

constexpr int32_t threads = 256, words = 4;  // words of one thread, all in flight together
constexpr int32_t most_parts = 160;          // 64 groups have two each

struct Part {
  int32_t *target;
  int32_t first, count;  // in the ring's block
  int32_t begin;         // its first block of threads
};

struct Begin {
  const int32_t *ring, *turn, *last_tokens;
  int32_t n_ring, block_words;
  int32_t ids, sequences, slots;  // where they begin in the ring's block
  int32_t T, n_slots;             // n_slots 0: ids never are -1
  int32_t n_parts;
  Part parts[most_parts];
};
static_assert(sizeof(Begin) <= 4096, "kernels take 4 KiB of parameters");

// Never from a cache: the host has written the block since it was read last.
__device__ int32_t fresh(const int32_t *word) { return __ldcv(word); }

__global__ void __launch_bounds__(threads) begin(const __grid_constant__ Begin step) {
  int32_t p = 0;
  while (p + 1 < step.n_parts && static_cast<int32_t>(blockIdx.x) >= step.parts[p + 1].begin) ++p;
  const Part part = step.parts[p];
  const int32_t from =
      (static_cast<int32_t>(blockIdx.x) - part.begin) * threads * words + static_cast<int32_t>(threadIdx.x);
  wait_for_previous();

  const int32_t *block =
      step.ring +
      static_cast<int64_t>(static_cast<uint32_t>(*step.turn) % static_cast<uint32_t>(step.n_ring)) * step.block_words;
  int32_t word[words], sequence[words], slot[words];
  for (int32_t k = 0; k < words; ++k) {
    const int32_t i = from + k * threads, t = part.first + i - step.ids;  // t: which token, where it is an id
    const bool id = step.n_slots > 0 && i < part.count && t >= 0 && t < step.T;
    word[k] = i < part.count ? fresh(block + part.first + i) : 0;
    sequence[k] = id ? fresh(block + step.sequences + t) : -1;
    slot[k] = id && t < step.n_slots ? fresh(block + step.slots + t) : 0;  // a guess: that of token t is sequence t
  }
  for (int32_t k = 0; k < words; ++k) {
    const int32_t i = from + k * threads;
    if (i >= part.count) continue;
    if (word[k] == -1 && sequence[k] >= 0) {
      if (sequence[k] != part.first + i - step.ids) slot[k] = fresh(block + step.slots + sequence[k]);
      word[k] = step.last_tokens[slot[k]];
    }
    part.target[i] = word[k];
  }
}

// Where in the ring's block stands what is copied to `target`, and how many words its part has from there; -1: nothing
// is.
struct Place {
  int32_t first = -1, count = 0;
};

Place place(const IngotBeginStep &step, const int32_t *target) {
  for (int32_t p = 0; p < step.n_parts; ++p) {
    const IngotFieldPart &part = step.parts[p];
    const auto *begin = static_cast<const int32_t *>(part.target);
    if (target < begin || target >= begin + part.count) continue;
    const auto within = static_cast<int32_t>(target - begin);
    return {part.first + within, part.count - within};
  }
  return {};
}

}  // namespace

int begin_step(void *self, const IngotBeginStep *given) {
  Device &device = entered(self);
  IngotCtx *ctx = device.ctx;
  const IngotBeginStep &step = *given;
  Begin kernel{};
  kernel.ring = step.ring;
  kernel.turn = step.turn;
  kernel.last_tokens = step.last_tokens;
  kernel.n_ring = step.n_ring;
  kernel.block_words = step.block_words;
  kernel.T = step.T;
  int32_t blocks = 0;
  for (int32_t p = 0; p < step.n_parts; ++p) {
    const IngotFieldPart &part = step.parts[p];
    if (part.count <= 0) continue;
    if (kernel.n_parts == most_parts)
      return ctx->host->error(ctx, "a step of more than %d fields cannot be copied to the GPU at once", most_parts);
    kernel.parts[kernel.n_parts++] = {static_cast<int32_t *>(part.target), part.first, part.count, blocks};
    blocks += (part.count + threads * words - 1) / (threads * words);
  }
  if (blocks == 0) return 0;
  kernel.ids = place(step, step.ids_T).first;
  if (step.slots_S && kernel.ids >= 0) {
    const Place slots = place(step, step.slots_S);
    kernel.sequences = place(step, step.sequences_T).first;
    kernel.slots = slots.first;
    kernel.n_slots = slots.count;
    if (kernel.sequences < 0 || kernel.slots < 0)
      return ctx->host->error(ctx, "begin_step: no part fills the sequences or the slots, so no last token is found");
  }
  return ingot::launch(ctx, "begin_step", Grid{dim3(static_cast<unsigned>(blocks)), dim3(threads)}, begin, kernel);
}

}  // namespace ingot::cuda
