// end_step of ingot_device.h: the next token of every sequence, on the GPU.
//
// Two kernels. The first cuts each row of logits into chunks of 4,096, of which a block of threads finds the best
// token, what is no number, and if asked the sum of exponentials; so one row of 32,000 has eight blocks, and as many
// multiprocessors. The second, a block a row, joins the chunks, draws where a slot asks for it (draw.h), and keeps the
// token as its slot's last; its last block tells the host. Chunks depend on the vocabulary only and are joined in one
// order: a token and its log-probability depend on nothing but its row and its slot's sampling.
#include <cfloat>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/draw.h"
#include "cuda/errors.h"
#include "ops/cuda/launch.h"

namespace ingot::cuda {
namespace {

constexpr int32_t chunk = 4096, chunk_threads = 256, chunk_warps = chunk_threads / 32;
constexpr int32_t loads = chunk / chunk_threads;

struct Best {
  float value;
  int32_t id;
};

struct Chunk {
  Best best;
  float sum;     // of exp(x - best.value), if a log-probability is wanted
  uint32_t bad;  // 1: it holds a NaN or +inf
};

// What the blocks of a step tell each other; results wait here until they go to the host together.
struct Header {
  uint64_t done;
  uint32_t ended;  // rows
  uint32_t unused[13];
};

__device__ Best better(Best a, Best b) {
  const bool other = b.value > a.value || (b.value == a.value && b.id < a.id);
  return other ? b : a;
}

__device__ Best best_of_warp(Best best) {
  for (uint32_t d = 16; d > 0; d /= 2) {
    const Best other{__shfl_xor_sync(~0u, best.value, d), __shfl_xor_sync(~0u, best.id, d)};
    best = better(best, other);
  }
  return best;
}

struct End {
  IngotEndStep step;
  Header *header;
  IngotSampledToken *sampled;  // S
  Chunk *chunks;               // S n_chunks
  int32_t n_chunks;
};

__global__ void __launch_bounds__(chunk_threads) look(const __grid_constant__ End end) {
  __shared__ Best bests[chunk_warps];
  __shared__ float sums[chunk_warps];
  __shared__ uint32_t bads[chunk_warps];
  wait_for_previous();
  let_next_launch();
  const auto s = static_cast<int32_t>(blockIdx.y);
  const bool first = blockIdx.x == 0 && s == 0 && threadIdx.x == 0;
  // Read here already: it comes from the host's memory, and the second kernel would wait for it.
  const uint64_t done = first ? __ldcv(reinterpret_cast<const unsigned long long *>(end.step.done)) : 0;
  const int32_t row = s < end.step.S ? end.step.rows_S[s] : -1;
  if (row >= 0) {
    const bool logprob = end.step.sampling[end.step.slots_S[s]].logprobs >= 0;
    const int64_t V = end.step.vocab;
    const int32_t begin = static_cast<int32_t>(blockIdx.x) * chunk + static_cast<int32_t>(threadIdx.x);
    const float *x_V = end.step.logits_NV + row * V;
    float x[loads];
    for (int32_t i = 0; i < loads; ++i) {
      const int32_t id = begin + i * chunk_threads;
      x[i] = id < V ? x_V[id] : -INFINITY;
    }
    Best best{-INFINITY, begin};
    bool bad = false;
    for (int32_t i = 0; i < loads; ++i) {
      bad |= !(x[i] <= FLT_MAX);
      if (x[i] > best.value) best = {x[i], begin + i * chunk_threads};
    }
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    best = best_of_warp(best);
    const uint32_t any = __ballot_sync(~0u, bad);
    if (lane == 0) {
      bests[warp] = best;
      bads[warp] = any != 0;
    }
    __syncthreads();
    uint32_t worst = 0;
    best = bests[0];
    for (int32_t w = 0; w < chunk_warps; ++w) {
      best = better(best, bests[w]);
      worst |= bads[w];
    }
    float sum = 0;
    if (logprob) {
      for (int32_t i = 0; i < loads; ++i) sum += x[i] == -INFINITY ? 0 : expf(x[i] - best.value);
      for (uint32_t d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
      if (lane == 0) sums[warp] = sum;
      __syncthreads();
      sum = 0;
      for (int32_t w = 0; w < chunk_warps; ++w) sum += sums[w];
    }
    if (threadIdx.x == 0) end.chunks[static_cast<int64_t>(s) * end.n_chunks + blockIdx.x] = {best, sum, worst};
  }
  if (first) {
    end.header->done = done;
    end.header->ended = 0;
  }
}

// The row's chunks together; every warp does the same, so that none waits for another.
struct Joined {
  Best best;
  bool bad;
  double logarithm;  // of the sum of exp(x - best.value)
};

__device__ Joined join(const End &end, int32_t s, bool logprob) {
  const Chunk *chunks = end.chunks + static_cast<int64_t>(s) * end.n_chunks;
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  Best best{-INFINITY, INT32_MAX};
  bool bad = false;
  for (int32_t c = lane; c < end.n_chunks; c += 32) {
    const Chunk mine = chunks[c];
    best = better(best, mine.best);
    bad |= mine.bad != 0;
  }
  Joined joined{best_of_warp(best), __any_sync(~0u, bad) != 0, 0};
  joined.bad |= !(joined.best.value >= -FLT_MAX);
  if (logprob && !joined.bad) {
    double sum = 0;
    for (int32_t c = lane; c < end.n_chunks; c += 32) {
      const Chunk mine = chunks[c];
      if (mine.best.value >= -FLT_MAX)
        sum += static_cast<double>(mine.sum) * static_cast<double>(expf(mine.best.value - joined.best.value));
    }
    for (uint32_t d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    joined.logarithm = log(sum);
  }
  return joined;
}

__device__ IngotSampledToken sample(const End &end, int32_t s, int32_t row, DrawSpace &space) {
  const IngotEndStep &step = end.step;
  const int32_t slot = step.slots_S[s];
  const IngotSlotSampling how = step.sampling[slot];
  const Joined joined = join(end, s, how.logprobs >= 0);
  IngotSampledToken sampled{joined.best.id, 0};
  const float *x_V = step.logits_NV + row * step.vocab;
  if (joined.bad) {
    sampled.token = -1;
  } else if (how.temperature != 0 && how.top_k != 1) {
    const LogitsRow logits(x_V, static_cast<int32_t>(step.vocab), joined.best.value, how.temperature);
    sampled.token = draw(logits, how, step.positions_S[s], space);
  }
  if (threadIdx.x == 0) {
    // A sequence whose logits are no numbers fails; until the host has seen that, its next step reads a token that
    // there is.
    step.last_tokens[slot] = max(sampled.token, 0);
    if (how.logprobs >= 0 && !joined.bad) {
      const double below = static_cast<double>(x_V[sampled.token]) - static_cast<double>(joined.best.value);
      sampled.logprob = static_cast<float>(below - joined.logarithm);
    }
  }
  return sampled;
}

// The results go to the host, then the count of steps: who sees the count sees the results.
__device__ void tell(const End &end) {
  const IngotEndStep &step = end.step;
  const auto turn = static_cast<uint32_t>(*step.turn), ring = static_cast<uint32_t>(step.n_ring);
  IngotSampledToken *results = step.results + static_cast<int64_t>(turn % ring) * step.max_sequences;
  for (int32_t s = static_cast<int32_t>(threadIdx.x); s < step.S; s += row_threads) {
    const auto bits = __ldcg(reinterpret_cast<const unsigned long long *>(end.sampled + s));
    *reinterpret_cast<volatile unsigned long long *>(results + s) = bits;
  }
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x != 0) return;
  *step.turn = static_cast<int32_t>((turn + 1) % ring);
  *reinterpret_cast<volatile uint64_t *>(step.done) = end.header->done + 1;
}

__global__ void __launch_bounds__(row_threads) choose(const __grid_constant__ End end) {
  __shared__ DrawSpace space;
  __shared__ bool last;
  wait_for_previous();
  let_next_launch();
  const auto s = static_cast<int32_t>(blockIdx.x);
  const int32_t row = s < end.step.S ? end.step.rows_S[s] : -1;
  IngotSampledToken sampled{-1, 0};
  if (row >= 0) sampled = sample(end, s, row, space);
  if (threadIdx.x == 0) {
    if (s < end.step.S) end.sampled[s] = sampled;
    __threadfence();
    last = atomicAdd(&end.header->ended, 1u) + 1 == gridDim.x;
    __threadfence();
  }
  __syncthreads();
  if (last) tell(end);
}

int32_t chunks_of(int64_t vocab) { return static_cast<int32_t>((vocab + chunk - 1) / chunk); }

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

size_t sample_workspace(int32_t max_sequences, int64_t vocab) {
  const auto S = static_cast<size_t>(max_sequences);
  return aligned(sizeof(Header)) + aligned(S * sizeof(IngotSampledToken)) +
         S * static_cast<size_t>(chunks_of(vocab)) * sizeof(Chunk);
}

int end_step(void *self, const IngotEndStep *step) {
  Device &device = entered(self);
  if (step->S < 0 || step->S > 65535 || step->vocab < 1 || step->vocab > int64_t{1} << 28) {
    return device.ctx->host->error(
        device.ctx,
        "tokens of %d sequences with a vocabulary of %lld were to be chosen; the GPU's sampler "
        "takes 0 to 65535 of at most 2^28",
        step->S, static_cast<long long>(step->vocab));
  }
  auto *at = static_cast<uint8_t *>(step->workspace);
  End end{};
  end.step = *step;
  end.header = reinterpret_cast<Header *>(at);
  end.sampled = reinterpret_cast<IngotSampledToken *>(at += aligned(sizeof(Header)));
  end.chunks = reinterpret_cast<Chunk *>(at + aligned(static_cast<size_t>(step->S) * sizeof(IngotSampledToken)));
  end.n_chunks = chunks_of(step->vocab);
  // A step without sequences ends all the same, and is counted.
  const dim3 parts(static_cast<unsigned>(end.n_chunks), static_cast<unsigned>(step->S > 0 ? step->S : 1));
  if (const int status = ingot::launch(device.ctx, "look at logits", Grid{parts, dim3(chunk_threads)}, look, end))
    return status;
  return ingot::launch(device.ctx, "choose tokens", Grid{dim3(parts.y), dim3(row_threads)}, choose, end);
}

}  // namespace ingot::cuda
