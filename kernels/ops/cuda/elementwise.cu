// Ops that make each element of one element of each input: one kernel for all types and shapes, and one of vectors for
// the common functions of floats.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "ops/cuda/broadcast.h"
#include "ops/cuda/elements.h"
#include "ops/cuda/functions.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

constexpr int threads = 256;

struct Map {
  Function function;
  float alpha;
  const void *in[most_inputs];  // NULL: not given, which the ends of the numbers stand for (Clip)
  int32_t in_dtype[most_inputs], out_dtype;
  void *out;
  Broadcast broadcast;
};

__device__ float number_of(const Map &p, int k, int64_t at, float) {
  if (p.in[k]) return float_at(p.in[k], p.in_dtype[k], at);
  return k == 1 ? -INFINITY : INFINITY;
}

__device__ int64_t number_of(const Map &p, int k, int64_t at, int64_t) {
  if (p.in[k]) return integer_at(p.in[k], p.in_dtype[k], at);
  return k == 1 ? INT64_MIN : INT64_MAX;
}

// Number: float where the inputs are floats.
template <class Number>
__global__ void __launch_bounds__(threads) map_elements(const Map p) {
  let_next_launch();
  wait_for_previous();
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < p.broadcast.elements; i += step) {
    int64_t at[most_inputs];
    p.broadcast.places(i, at);
    Number x[most_inputs];
#pragma unroll
    for (int k = 0; k < most_inputs; ++k) x[k] = number_of(p, k, at[k], Number{});
    if constexpr (sizeof(Number) == 4) {
      const float y = of_floats(p.function, x[0], x[1], x[2], p.alpha);
      if (is_float_type(p.out_dtype)) store_float(p.out, p.out_dtype, i, y);
      if (!is_float_type(p.out_dtype)) store_integer(p.out, p.out_dtype, i, y != 0);
    } else {
      store_integer(p.out, p.out_dtype, i, of_integers(p.function, x[0], x[1], x[2]));
    }
  }
}

// What map_vectors computes.
__host__ __device__ constexpr bool has_vectors(Function function) {
  switch (function) {
    case Function::add:
    case Function::sub:
    case Function::mul:
    case Function::div:
    case Function::max:
    case Function::min:
    case Function::neg:
    case Function::relu:
    case Function::sigmoid:
    case Function::tanh:
    case Function::gelu:
    case Function::gelu_tanh:
    case Function::swish:
      return true;
    default:
      return false;
  }
}

template <Function function, int size>
__device__ void apply(float (&a)[size], const float (&b)[size], float alpha) {
#pragma unroll
  for (int i = 0; i < size; ++i) a[i] = of_floats(function, a[i], b[i], 0, alpha);
}

template <int size>
__device__ void apply(Function function, float (&a)[size], const float (&b)[size], float alpha) {
  switch (function) {
    case Function::add:
      return apply<Function::add>(a, b, alpha);
    case Function::sub:
      return apply<Function::sub>(a, b, alpha);
    case Function::mul:
      return apply<Function::mul>(a, b, alpha);
    case Function::div:
      return apply<Function::div>(a, b, alpha);
    case Function::max:
      return apply<Function::max>(a, b, alpha);
    case Function::min:
      return apply<Function::min>(a, b, alpha);
    case Function::neg:
      return apply<Function::neg>(a, b, alpha);
    case Function::relu:
      return apply<Function::relu>(a, b, alpha);
    case Function::sigmoid:
      return apply<Function::sigmoid>(a, b, alpha);
    case Function::tanh:
      return apply<Function::tanh>(a, b, alpha);
    case Function::gelu:
      return apply<Function::gelu>(a, b, alpha);
    case Function::gelu_tanh:
      return apply<Function::gelu_tanh>(a, b, alpha);
    default:
      return apply<Function::swish>(a, b, alpha);
  }
}

// A thread has one vector of the output; an input gives a vector, or one number for all of it.
template <class X>
__global__ void __launch_bounds__(threads) map_vectors(const Map p) {
  let_next_launch();
  wait_for_previous();
  constexpr int size = Vector<X>::size;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads, count = p.broadcast.elements / size;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    int64_t at[most_inputs];
    p.broadcast.places(i * size, at);
    float x[2][size] = {};
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      if (!p.in[k]) continue;
      const X *from = static_cast<const X *>(p.in[k]) + at[k];
      if (p.broadcast.stride[0][k]) {
        to_floats(load_vector(from, 0), x[k]);
      } else {
#pragma unroll
        for (float &number : x[k]) number = to_float(*from);
      }
    }
    apply(p.function, x[0], x[1], p.alpha);
    store_vector(static_cast<X *>(p.out), i, from_floats<X>(x[0]));
  }
}

int launch_map(const Map &p, IngotCtx *ctx) {
  bool vectors = has_vectors(p.function), floats = is_float_type(p.in_dtype[p.function == Function::where]);
  for (int k = 0; k < 2; ++k) vectors &= !p.in[k] || p.in_dtype[k] == p.out_dtype;
  const int64_t size = 16 / bytes_of_type(p.out_dtype);
  vectors = vectors && size <= 8 && p.broadcast.fits(size);
  const int64_t count = vectors ? p.broadcast.elements / size : p.broadcast.elements;
  const Grid grid{dim3(static_cast<unsigned>(std::min<int64_t>((count + threads - 1) / threads, 1 << 20))),
                  dim3(threads)};
  int status = 0;
  const auto with = [&](auto type) { status = launch(ctx, "map_vectors", grid, map_vectors<decltype(type)>, p); };
  if (vectors && with_float_type(p.out_dtype, with)) return status;
  if (floats) return launch(ctx, "map_elements", grid, map_elements<float>, p);
  return launch(ctx, "map_elements", grid, map_elements<int64_t>, p);
}

int map(Function function, float alpha, const IngotTensor &out, const IngotTensor *const (&in)[most_inputs],
        IngotCtx *ctx) {
  Map p{};
  p.function = function;
  p.alpha = alpha;
  p.out = out.data;
  p.out_dtype = out.dtype;
  p.broadcast = Broadcast(out, in);
  for (int k = 0; k < most_inputs; ++k) {
    if (!in[k]) continue;
    p.in[k] = in[k]->data;
    p.in_dtype[k] = in[k]->dtype;
  }
  return launch_map(p, ctx);
}

template <Function function>
struct Elementwise {
  Function exact = function;  // what the node's attributes choose
  float alpha;

  explicit Elementwise(const NodeView &node) : alpha(node.number("alpha")) {
    if (function == Function::gelu && !std::strcmp(node.text("approximate"), "tanh")) exact = Function::gelu_tanh;
    if (function == Function::mod && node.integer("fmod")) exact = Function::rest;
    if (function == Function::shift_left && std::strcmp(node.text("direction"), "LEFT")) exact = Function::shift_right;
  }

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor *in[most_inputs] = {};
    for (int32_t k = 0; k < std::min(call.n_in, most_inputs); ++k) in[k] = is_there(call, k) ? &call.in[k] : nullptr;
    return map(exact, alpha, call.out[0], in, ctx);
  }
};

// Min and Max of any number of inputs, one after another.
template <Function function>
struct Extreme {
  explicit Extreme(const NodeView &) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &out = call.out[0];
    int status = map(function, 0, out, {&call.in[0], &call.in[call.n_in > 1], nullptr}, ctx);
    for (int32_t i = 2; i < call.n_in && !status; ++i)
      status = map(function, 0, out, {&out, &call.in[i], nullptr}, ctx);
    return status;
  }
};

int supports_pow(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  IngotTensor base{}, exponent{};
  ctx->host->input(node, 0, &base);
  ctx->host->input(node, 1, &exponent);
  if (is_float_type(base.dtype) || !is_float_type(exponent.dtype)) return 1;
  snprintf(why, n, "it takes no floats as exponents of integers");
  return 0;
}

template <Function function>
constexpr IngotKernel kernels[] = {kernel_of<Elementwise<function>>("map")};
template <Function function>
constexpr IngotKernel extremes[] = {kernel_of<Extreme<function>>("map")};
constexpr IngotKernel powers[] = {kernel_of<Elementwise<Function::pow>>("map", supports_pow)};

template <Function function>
constexpr IngotOpKernels set(const char *op) {
  return {"", op, kernels<function>, 1};
}

constexpr IngotOpKernels sets[] = {
    set<Function::add>("Add"),
    set<Function::sub>("Sub"),
    set<Function::mul>("Mul"),
    set<Function::div>("Div"),
    set<Function::mod>("Mod"),
    {"", "Pow", powers, 1},
    set<Function::bit_and>("BitwiseAnd"),
    set<Function::bit_or>("BitwiseOr"),
    set<Function::bit_xor>("BitwiseXor"),
    set<Function::shift_left>("BitShift"),
    {"", "Min", extremes<Function::min>, 1},
    {"", "Max", extremes<Function::max>, 1},
    set<Function::clip>("Clip"),
    set<Function::equal>("Equal"),
    set<Function::less>("Less"),
    set<Function::less_or_equal>("LessOrEqual"),
    set<Function::greater>("Greater"),
    set<Function::greater_or_equal>("GreaterOrEqual"),
    set<Function::both>("And"),
    set<Function::either>("Or"),
    set<Function::one_of>("Xor"),
    set<Function::where>("Where"),
    set<Function::neg>("Neg"),
    set<Function::abs>("Abs"),
    set<Function::sign>("Sign"),
    set<Function::sqrt>("Sqrt"),
    set<Function::reciprocal>("Reciprocal"),
    set<Function::exp>("Exp"),
    set<Function::log>("Log"),
    set<Function::sin>("Sin"),
    set<Function::cos>("Cos"),
    set<Function::tanh>("Tanh"),
    set<Function::sigmoid>("Sigmoid"),
    set<Function::erf>("Erf"),
    set<Function::relu>("Relu"),
    set<Function::leaky_relu>("LeakyRelu"),
    set<Function::gelu>("Gelu"),
    set<Function::swish>("Swish"),
    set<Function::softplus>("Softplus"),
    set<Function::floor>("Floor"),
    set<Function::ceil>("Ceil"),
    set<Function::round>("Round"),
    set<Function::is_nan>("IsNaN"),
    set<Function::negation>("Not"),
    set<Function::bit_not>("BitwiseNot"),
};

}  // namespace

std::span<const IngotOpKernels> elementwise_kernels() { return sets; }

}  // namespace ingot
