// Rotates q and k, writes k and v into their cells, and lists what the attention kernels have to do.
#include <algorithm>

#include "ops/cuda/flash_call.h"
#include "ops/cuda/flash_work.h"
#include "ops/cuda/launch.h"

namespace ingot {
namespace {

constexpr int threads = append_threads;
constexpr int piece = 16;  // elements of a head that a thread moves

// As the definition rounds: products and their sum one by one.
__device__ void turn(float &a, float &b, float cos, float sin) {
  const float real = __fsub_rn(__fmul_rn(cos, a), __fmul_rn(sin, b));
  b = __fadd_rn(__fmul_rn(sin, a), __fmul_rn(cos, b));
  a = real;
}

// A thread's elements of a head: 16 that follow one another, or twice eight, `apart` from each other.
struct Piece {
  int at, apart;
  bool turned;
  int pair;  // the first of its pairs
};

// Where pairs and the rest come in whole pieces.
__device__ Piece piece_of(const AppendCall &a, int i, bool turned) {
  if (!turned || i * 8 >= a.R) {
    const int at = turned ? 2 * a.R + (i - a.R / 8) * piece : i * piece;
    return {at, 8, false, 0};
  }
  return a.interleaved ? Piece{i * piece, 8, true, i * 8} : Piece{i * 8, a.R, true, i * 8};
}

// Element i of a rotated head, by itself.
template <class X>
__device__ float element_of(const AppendCall &a, const X *head, const float *cos, const float *sin, int i) {
  float one = to_float(head[i]);
  if (i >= 2 * a.R) return one;
  const int pair = a.interleaved ? i / 2 : i % a.R;
  const bool second = a.interleaved ? i % 2 : i >= a.R;
  const int apart = a.interleaved ? 1 : a.R;
  float other = to_float(head[second ? i - apart : i + apart]);
  if (second) {
    turn(other, one, cos[pair], sin[pair]);
  } else {
    turn(one, other, cos[pair], sin[pair]);
  }
  return rounded_to<X>(one);
}

template <class X>
__device__ void turn_piece(const AppendCall &a, const float *cos, const float *sin, const Piece &which,
                           float (&numbers)[piece]) {
  float c[8], s[8];
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    *reinterpret_cast<float4 *>(c + i) = *reinterpret_cast<const float4 *>(cos + which.pair + i);
    *reinterpret_cast<float4 *>(s + i) = *reinterpret_cast<const float4 *>(sin + which.pair + i);
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (a.interleaved) {
      turn(numbers[2 * i], numbers[2 * i + 1], c[i], s[i]);
    } else {
      turn(numbers[i], numbers[8 + i], c[i], s[i]);
    }
  }
#pragma unroll
  for (float &number : numbers) number = rounded_to<X>(number);
}

template <class C>
__device__ void store_eight(C *to, const float *numbers) {
  if constexpr (sizeof(C) == 2) {
    float eight[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) eight[i] = numbers[i];
    store_vector(to, 0, from_floats<C>(eight));
  } else {
    uint2 codes;
    codes.x = to_e4m3(numbers[0], numbers[1]) | static_cast<uint32_t>(to_e4m3(numbers[2], numbers[3])) << 16;
    codes.y = to_e4m3(numbers[4], numbers[5]) | static_cast<uint32_t>(to_e4m3(numbers[6], numbers[7])) << 16;
    *reinterpret_cast<uint2 *>(to) = codes;
  }
}

// Block 0 lists; a thread of the others moves one piece of a head of q (where it is wanted), k or v.
template <class X, class C>
__global__ void __launch_bounds__(threads) append(const AttentionCall p, const AppendCall a) {
  let_next_launch();
  wait_for_previous();
  if (blockIdx.x == 0) return list_work(p);
  const int pieces = p.K / piece, heads = (a.q ? p.H : 0) + 2 * p.G;
  const uint64_t index = static_cast<uint64_t>(blockIdx.x - 1) * threads + threadIdx.x;
  const int each = heads * pieces, t = static_cast<int>(index / each), i = static_cast<int>(index % each);
  if (t >= p.T) return;
  const int part = i % pieces;
  int head = i / pieces;
  const bool query = a.q && head < p.H;
  if (a.q && !query) head -= p.H;
  const bool value = !query && head >= p.G;
  if (value) head -= p.G;

  const X *from = static_cast<const X *>(query ? a.q : value ? a.v : a.k) + head * p.K;
  from += t * (query ? a.q_row : value ? a.v_row : a.k_row);
  const bool turned = a.cos_LR && !value;
  const int64_t row = turned ? static_cast<int64_t>(max(0, min(p.positions_T[t], a.L - 1))) * a.R : 0;
  const bool whole = !turned || (a.R % 8 == 0 && (p.K - 2 * a.R) % piece == 0);
  const Piece which = whole ? piece_of(a, part, turned) : Piece{part * piece, 8, false, 0};
  float numbers[piece];
  if (whole) {
    float eight[8];
    to_floats(load_vector(from + which.at, 0), eight);
#pragma unroll
    for (int n = 0; n < 8; ++n) numbers[n] = eight[n];
    to_floats(load_vector(from + which.at + which.apart, 0), eight);
#pragma unroll
    for (int n = 0; n < 8; ++n) numbers[8 + n] = eight[n];
    if (which.turned) turn_piece<X>(a, a.cos_LR + row, a.sin_LR + row, which, numbers);
  } else {
#pragma unroll
    for (int n = 0; n < piece; ++n) numbers[n] = element_of(a, from, a.cos_LR + row, a.sin_LR + row, which.at + n);
  }
  if (query) {
    X *to = static_cast<X *>(a.q_THK) + (static_cast<int64_t>(t) * p.H + head) * p.K + which.at;
    store_eight(to, numbers);
    store_eight(to + which.apart, numbers + 8);
    return;
  }
  const int cell = a.cells_T[t], page = cell / p.W;
  if (cell < 0 || page >= p.P) return;
  const float by = unit_of(value ? p.v_scale : p.k_scale);
  if (by != 1.f) {
#pragma unroll
    for (float &number : numbers) number = __fdiv_rn(number, by);
  }
  C *to = static_cast<C *>(value ? p.cache_v : p.cache_k) + cache_row(p, page, cell % p.W, head) * p.K + which.at;
  store_eight(to, numbers);
  store_eight(to + which.apart, numbers + 8);
}

template <class X, class C>
int launch_append(const AttentionCall &call, const AppendCall &given, IngotCtx *ctx) {
  const int64_t pieces = static_cast<int64_t>(call.T) * ((given.q ? call.H : 0) + 2 * call.G) * (call.K / piece);
  const Grid grid{dim3(static_cast<unsigned>(1 + (pieces + threads - 1) / threads)), dim3(threads)};
  return launch(ctx, "append", grid, append<X, C>, call, given);
}

}  // namespace

int append_and_list(const AttentionCall &call, const AppendCall &given, bool codes, IngotCtx *ctx) {
  if (call.is_bf16) {
    return codes ? launch_append<__nv_bfloat16, uint8_t>(call, given, ctx)
                 : launch_append<__nv_bfloat16, __nv_bfloat16>(call, given, ctx);
  }
  return codes ? launch_append<__half, uint8_t>(call, given, ctx) : launch_append<__half, __half>(call, given, ctx);
}

}  // namespace ingot
