// AllReduce, AllGather: the rows, and kernels over the ranks' communicator (IngotCtx.comm).
#include <cstring>
#include <string_view>

#include "ingot_comm.h"
#include "ops/dtype.h"
#include "ops/host.h"
#include "ops/ingot/row.h"
#include "ops/rows.h"

namespace ingot {
namespace {

constexpr const char *reducible = "X:f32|f16|bf16|i32";

size_t elements_of(const IngotTensor &x) {
  int64_t count = 1;
  for (int32_t i = 0; i < x.rank; ++i) count *= x.shape[i];
  return static_cast<size_t>(count);
}

size_t bytes_of(const IngotTensor &x) {
  return static_cast<size_t>(bytes_of_elements(x.dtype, static_cast<int64_t>(elements_of(x))));
}

// Whether the ranks can meet: one rank needs nobody.
int check_comm(IngotCtx *ctx) {
  if (ctx->ranks == 1) return 0;
  const auto *comm = static_cast<const IngotComm *>(ctx->comm);
  if (!comm) return ctx->host->error(ctx, "there are %d ranks, but nothing by which they could meet", ctx->ranks);
  if (comm->size < sizeof(IngotComm) || comm->ranks != ctx->ranks || comm->rank != ctx->rank) {
    return ctx->host->error(ctx, "the communicator is not that of rank %d of %d", ctx->rank, ctx->ranks);
  }
  return 0;
}

int told(IngotCtx *ctx, IngotComm *comm, int status) {
  return status ? ctx->host->error(ctx, "%s", comm->last_error(comm)) : 0;
}

// --- AllReduce

struct Reduction {
  int32_t kind;
};

int infer_reduce(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t) {
  const std::string_view op = ctx->host->attr_string(node, "op");
  if (op != "sum" && op != "max") return ctx->host->error(ctx, "op is '%.40s'; it must be sum or max", op.data());
  out[0] = in[0];
  return 0;
}

int create_reduce(const IngotNode *node, IngotCtx *ctx, void **self) {
  if (check_comm(ctx)) return 1;
  const bool max = std::string_view(ctx->host->attr_string(node, "op")) == "max";
  return keep(Reduction{max ? INGOT_MAX : INGOT_SUM}, node, ctx, self);
}

int enqueue_reduce(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const IngotTensor &x = call->in[0], &y = call->out[0];
  if (ctx->ranks == 1) {
    if (y.data != x.data) std::memcpy(y.data, x.data, bytes_of(x));
    return 0;
  }
  auto *comm = static_cast<IngotComm *>(ctx->comm);
  const int32_t kind = static_cast<Reduction *>(self)->kind;
  return told(ctx, comm, comm->all_reduce(comm, x.data, y.data, elements_of(x), x.dtype, kind, ctx->stream));
}

// --- AllGather

struct Gathering {
  int32_t axis;
};

int check_axis(const IngotNode *node, IngotCtx *ctx, int64_t *axis, int64_t *ranks) {
  *axis = ctx->host->attr_int(node, "axis");
  *ranks = ctx->host->attr_int(node, "ranks");
  if (*axis != 0 && *axis != 1) {
    return ctx->host->error(ctx, "axis is %lld; it must be 0 or 1", static_cast<long long>(*axis));
  }
  if (*ranks < 1) return ctx->host->error(ctx, "ranks is %lld; it must be 1 or more", static_cast<long long>(*ranks));
  return 0;
}

int infer_gather(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t) {
  int64_t axis = 0, ranks = 1;
  if (check_axis(node, ctx, &axis, &ranks)) return 1;
  out[0] = in[0];
  if (__builtin_mul_overflow(in[0].shape[axis], ranks, &out[0].shape[axis]))
    return ctx->host->error(ctx, "ranks is %lld, too many for x", static_cast<long long>(ranks));
  return 0;
}

// Where a row is made of the ranks' parts, they come here first, rank by rank.
size_t workspace_gather(const IngotNode *node, const int64_t *dims) {
  const IngotHost *host = host_services();
  IngotTensor out{};
  host->output(node, 0, &out);
  if (host->attr_int(node, "axis") == 0 || host->attr_int(node, "ranks") == 1) return 0;
  return static_cast<size_t>(bytes_of_elements(out.dtype, dims[0] * dims[1] * host->attr_int(node, "ranks")));
}

int create_gather(const IngotNode *node, IngotCtx *ctx, void **self) {
  int64_t axis = 0, ranks = 1;
  if (check_axis(node, ctx, &axis, &ranks) || check_comm(ctx)) return 1;
  if (ranks != ctx->ranks) {
    return ctx->host->error(ctx, "it gathers from %lld ranks, there are %d", static_cast<long long>(ranks), ctx->ranks);
  }
  return keep(Gathering{static_cast<int32_t>(axis)}, node, ctx, self);
}

int enqueue_gather(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const IngotTensor &x = call->in[0], &y = call->out[0];
  const size_t bytes = bytes_of(x);
  if (ctx->ranks == 1) {
    std::memcpy(y.data, x.data, bytes);
    return 0;
  }
  auto *comm = static_cast<IngotComm *>(ctx->comm);
  const auto rows = static_cast<size_t>(x.shape[0]), ranks = static_cast<size_t>(ctx->ranks);
  const bool in_order = static_cast<Gathering *>(self)->axis == 0 || rows == 1;
  void *place = in_order ? y.data : ctx->workspace;
  if (comm->all_gather(comm, x.data, place, elements_of(x), x.dtype, ctx->stream)) return told(ctx, comm, 1);
  if (in_order) return 0;
  const size_t part = bytes / rows;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t rank = 0; rank < ranks; ++rank) {
      std::memcpy(static_cast<uint8_t *>(y.data) + (row * ranks + rank) * part,
                  static_cast<const uint8_t *>(place) + rank * bytes + row * part, part);
    }
  }
  return 0;
}

constexpr IngotArg reduce_inputs[] = {{"x", "...", reducible, INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotArg reduce_outputs[] = {{"y", "...", "X", INGOT_ACTIVATION, 0, 0, 0}};
constexpr IngotAttr reduce_attributes[] = {{"op", "string", "sum"}};
constexpr IngotArg gather_inputs[] = {{"x", "T V", reducible, INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotArg gather_outputs[] = {{"y", "...", "X", INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotAttr gather_attributes[] = {{"axis", "int", nullptr}, {"ranks", "int", nullptr}};

constexpr IngotKernel kernel_of(Create create, Enqueue enqueue, Destroy destroy,
                                size_t (*workspace)(const IngotNode *, const int64_t *)) {
  return {"naive",   INGOT_CPU, 0,      0,       naive_flags, nullptr, nullptr,
          workspace, nullptr,   create, nullptr, enqueue,     destroy};
}

constexpr IngotKernel reduce_kernels[] = {kernel_of(create_reduce, enqueue_reduce, release<Reduction>, nullptr)};
constexpr IngotKernel gather_kernels[] = {
    kernel_of(create_gather, enqueue_gather, release<Gathering>, workspace_gather)};

constexpr IngotOp rows[] = {
    op_row(
        "AllGather",
        "y = the x of every rank, one after the other along an axis, in the order of ranks; each rank has all of it. "
        "x itself where there is one rank.",
        gather_inputs, gather_outputs, gather_attributes, infer_gather, gather_kernels),
    op_row("AllReduce",
           "y = the sum, or the largest, of the x of all ranks, element by element: in float32, in the order of ranks, "
           "rounded once to X; a NaN makes the largest NaN. Every rank has the same bits. x itself where there is one "
           "rank. Megatron-LM, arXiv 1909.08053, section 3.",
           reduce_inputs, reduce_outputs, reduce_attributes, infer_reduce, reduce_kernels),
};

}  // namespace

std::span<const IngotOp> collective_rows() { return rows; }

}  // namespace ingot
