// RotaryPagedAttention: the row, and its kernels for the CPU, which are Split, Rotate and PagedAttention one after
// another.
#include <cstring>
#include <memory>
#include <utility>

#include "ops/ingot/row.h"
#include "ops/node.h"
#include "ops/rows.h"

namespace ingot {
namespace {

// From cache_k on the inputs are those of PagedAttention.
enum Input {
  qkv_TX,
  cos_LR,
  sin_LR,
  cache_k,
  cache_v,
  pages_SM,
  cells_T,
  positions_T,
  sequences_T,
  slopes_H,
  sinks_H,
  k_scale,
  v_scale
};

using Long = long long;

int infer(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t n_out) {
  const IngotHost *host = ctx->host;
  const int64_t H = host->attr_int(node, "heads"), G = host->attr_int(node, "groups");
  const int64_t dims = host->attr_int(node, "dims"), interleaved = host->attr_int(node, "interleaved");
  const int64_t X = in[qkv_TX].shape[1], K = in[cache_k].shape[3], R = in[cos_LR].shape[1], L = in[slopes_H].shape[0];
  if (n_out != 3) return host->error(ctx, "%d outputs are asked for, not the 3 of y and the caches", n_out);
  if (G < 1 || H < 1 || H % G) {
    return host->error(ctx, "%lld heads and %lld groups; heads must be a multiple of groups", Long{H}, Long{G});
  }
  int64_t heads, wanted;
  if (__builtin_add_overflow(H, 2 * G, &heads) || __builtin_mul_overflow(heads, K, &wanted))
    return host->error(ctx, "%lld heads and %lld groups of %lld elements cannot be", Long{H}, Long{G}, Long{K});
  if (X != wanted || in[cache_k].shape[1] != G) {
    return host->error(ctx,
                       "qkv is %lld wide and the cache holds %lld groups; %lld heads and %lld groups of %lld elements "
                       "need %lld and %lld",
                       Long{X}, Long{in[cache_k].shape[1]}, Long{H}, Long{G}, Long{K}, Long{wanted}, Long{G});
  }
  if (L != H) return host->error(ctx, "slopes and sinks have %lld elements for %lld heads", Long{L}, Long{H});
  if (in[cache_k].shape[2] < 1) return host->error(ctx, "pages of %lld tokens", Long{in[cache_k].shape[2]});
  if (host->attr_int(node, "window") < 0) {
    return host->error(ctx, "attribute window is %lld; 0 is no window", Long{host->attr_int(node, "window")});
  }
  const int64_t count = dims ? dims : K;
  if (count < 0 || count % 2 || count > K) {
    return host->error(ctx, "%lld elements of a head are to be turned; it must be an even number up to the head's %lld",
                       Long{count}, Long{K});
  }
  if (R != count / 2) {
    return host->error(ctx, "cos and sin have %lld columns; %lld elements of a head make %lld pairs", Long{R},
                       Long{count}, Long{count / 2});
  }
  if (interleaved != 0 && interleaved != 1) {
    return host->error(ctx, "attribute interleaved is %lld; it is 0 or 1", Long{interleaved});
  }
  describe(out[0], in[qkv_TX].dtype, {in[qkv_TX].shape[0], H * K});
  for (const int32_t cache : {0, 1}) {
    const IngotTensor &state = in[cache_k + cache];
    describe(out[1 + cache], state.dtype, {state.shape[0], state.shape[1], state.shape[2], state.shape[3]});
  }
  return 0;
}

// What a kernel of another op keeps of a node.
class Part {
 public:
  Part() = default;
  Part(Part &&other) noexcept : kernel_(other.kernel_), self_(std::exchange(other.self_, nullptr)) {}
  ~Part() {
    if (self_ && kernel_->destroy) kernel_->destroy(self_);
  }

  int create(const IngotKernel &kernel, const IngotNode &node, IngotCtx *ctx) {
    kernel_ = &kernel;
    return kernel.create(&node, ctx, &self_);
  }
  int enqueue(const IngotCall &call, IngotCtx *ctx) const { return kernel_->enqueue(self_, &call, 0, ctx); }

 private:
  const IngotKernel *kernel_ = nullptr;
  void *self_ = nullptr;
};

struct Kept {
  Part rotate_q, rotate_k, attention;
  int64_t heads, groups;
};

std::span<const IngotKernel> attention_kernels() {
  const IngotOp &row = paged_attention_rows()[0];
  return {row.kernels, static_cast<size_t>(row.n_kernels)};
}

// The node as PagedAttention would have it: q, k and v are of qkv's type. Only types and attributes are looked at.
IngotNode as_attention(const IngotNode &node) {
  IngotNode same = node;
  same.inputs[cos_LR] = same.inputs[sin_LR] = same.inputs[qkv_TX];
  return same;
}

IngotNode rotation(const IngotNode &node, int64_t heads) {
  IngotNode turn;
  turn.op = &rotate_rows()[0];
  for (int32_t i = 0; i < turn.op->n_attrs; ++i) {
    NodeAttribute attribute;
    attribute.row = &turn.op->attrs[i];
    const std::string_view name = attribute.row->name;
    attribute.integer = name == "heads" ? heads : node.attribute(name)->integer;
    turn.attributes.push_back(attribute);
  }
  return turn;
}

int create_rotation(const IngotNode &node, int64_t heads, IngotCtx *ctx, Part &part) {
  const IngotNode turn = rotation(node, heads);
  char why[256];
  for (int32_t i = 0; i < turn.op->n_kernels; ++i) {
    const IngotKernel &kernel = turn.op->kernels[i];
    if (kernel.supports && !kernel.supports(&turn, ctx, why, sizeof why)) continue;
    return part.create(kernel, turn, ctx);
  }
  return ctx->host->error(ctx, "it has no kernel that rotates");
}

// Kernel `which` of PagedAttention does the rest.
template <size_t which>
int supports(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  const IngotKernel &kernel = attention_kernels()[which];
  const IngotNode same = as_attention(*node);
  return !kernel.supports || kernel.supports(&same, ctx, why, n);
}

template <size_t which>
int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  Kept kept{{}, {}, {}, ctx->host->attr_int(node, "heads"), ctx->host->attr_int(node, "groups")};
  if (const int status = create_rotation(*node, kept.heads, ctx, kept.rotate_q)) return status;
  if (const int status = create_rotation(*node, kept.groups, ctx, kept.rotate_k)) return status;
  if (const int status = kept.attention.create(attention_kernels()[which], as_attention(*node), ctx)) return status;
  *self = new (std::nothrow) Kept(std::move(kept));
  return *self ? 0 : ctx->host->error(ctx, "no memory for what a kernel keeps of its node");
}

IngotTensor matrix(void *data, int32_t dtype, int64_t rows, int64_t columns) {
  IngotTensor tensor{};
  tensor.data = data;
  describe(tensor, dtype, {rows, columns});
  tensor.stride[0] = columns;
  tensor.stride[1] = 1;
  return tensor;
}

int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const Kept &kept = *static_cast<const Kept *>(self);
  const IngotTensor *in = call->in, &qkv = in[qkv_TX];
  const int64_t T = qkv.shape[0], X = qkv.shape[1], K = in[cache_k].shape[3], size = qkv.dtype == INGOT_F32 ? 4 : 2;
  auto *memory = static_cast<char *>(ctx->workspace);
  IngotTensor parts[3];
  int64_t first = 0;
  for (const int32_t i : {0, 1, 2}) {
    const int64_t columns = (i ? kept.groups : kept.heads) * K;
    parts[i] = matrix(memory + T * first * size, qkv.dtype, T, columns);
    for (int64_t t = 0; t < T; ++t) {
      memcpy(static_cast<char *>(parts[i].data) + t * columns * size,
             static_cast<const char *>(qkv.data) + (t * X + first) * size, static_cast<size_t>(columns * size));
    }
    first += columns;
  }
  for (const int32_t i : {0, 1}) {
    const IngotTensor inputs[] = {parts[i], in[cos_LR], in[sin_LR], in[positions_T]};
    const IngotCall turn{inputs, &parts[i], 4, 1, nullptr};
    if (const int status = (i ? kept.rotate_k : kept.rotate_q).enqueue(turn, ctx)) return status;
  }
  IngotTensor inputs[v_scale + 1] = {parts[0], parts[1], parts[2]};
  for (int32_t i = cache_k; i < call->n_in; ++i) inputs[i] = in[i];
  const IngotCall attention{inputs, call->out, call->n_in, call->n_out, nullptr};
  return kept.attention.enqueue(attention, ctx);
}

// q, k and v by themselves, rotated. Words, in the order of their first use: T X L R P G W K S M H.
size_t workspace(const IngotNode *, const int64_t *dims) { return static_cast<size_t>(dims[0] * dims[1]) * 4; }

template <size_t which>
IngotKernel kernel() {
  IngotKernel kernel = attention_kernels()[which];
  kernel.supports = supports<which>;
  kernel.workspace = workspace;
  kernel.create = create<which>;
  kernel.enqueue = enqueue;
  kernel.destroy = release<Kept>;
  return kernel;
}

// One for each of PagedAttention's.
std::vector<IngotKernel> all_kernels() {
  constexpr size_t most = 4;  // avx512, avx2, portable, naive
  const size_t count = attention_kernels().size();
  std::vector<IngotKernel> kernels;
  [&]<size_t... which>(std::index_sequence<which...>) {
    ((which < count ? kernels.push_back(kernel<which>()) : void()), ...);
  }(std::make_index_sequence<most>());
  return kernels;
}

constexpr IngotArg inputs[] = {{"qkv", "T X", "A:f32|f16|bf16", INGOT_ACTIVATION, 0, 0, -1},
                               {"cos", "L R", "f32", INGOT_WEIGHT, 0, 0, -1},
                               {"sin", "L R", "f32", INGOT_WEIGHT, 0, 0, -1},
                               {"cache_k", "P G W K", "C:f32|f16|bf16|f8e4m3", INGOT_STATE, 0, 0, -1},
                               {"cache_v", "P G W K", "C", INGOT_STATE, 0, 0, -1},
                               {"pages", "S M", "i32", INGOT_STEP, 0, 0, -1},
                               {"cells", "T", "i32", INGOT_STEP, 0, 0, -1},
                               {"positions", "T", "i32", INGOT_STEP, 0, 0, -1},
                               {"sequences", "T", "i32", INGOT_STEP, 0, 0, -1},
                               {"slopes", "H", "f32", INGOT_WEIGHT, 0, 0, -1},
                               {"sinks", "H", "f32", INGOT_WEIGHT, 0, 0, -1},
                               {"k_scale", "", "f32", INGOT_WEIGHT, 1, 0, -1},
                               {"v_scale", "", "f32", INGOT_WEIGHT, 1, 0, -1}};
constexpr IngotArg outputs[] = {{"y", "T H*K", "A", INGOT_ACTIVATION, 0, 0, -1},
                                {"new_k", "P G W K", "C", INGOT_ACTIVATION, 0, 0, cache_k},
                                {"new_v", "P G W K", "C", INGOT_ACTIVATION, 0, 0, cache_v}};
constexpr IngotAttr attributes[] = {{"heads", "int", nullptr}, {"groups", "int", nullptr}, {"scale", "float", nullptr},
                                    {"softcap", "float", "0"}, {"window", "int", "0"},     {"interleaved", "int", "0"},
                                    {"dims", "int", "0"}};

}  // namespace

std::span<const IngotOp> rotary_paged_attention_rows() {
  static const std::vector<IngotKernel> kernels = all_kernels();
  static const IngotOp rows[] = {
      op_row("RotaryPagedAttention",
             "A row of qkv is q, heads * K elements, then k and v, groups * K elements each, as one product leaves "
             "them. y and "
             "the caches are PagedAttention(Rotate(q), Rotate(k), v, ...): Rotate with cos, sin, interleaved and dims, "
             "rounded "
             "to the type of qkv; heads, groups, scale, softcap and window are PagedAttention's.",
             inputs, outputs, attributes, infer, kernels)};
  return rows;
}

}  // namespace ingot
