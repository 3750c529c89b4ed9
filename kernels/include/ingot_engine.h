/* The contract between the runtime and an engine: how a step reaches whatever executes it. Plain C, append only.
 *
 * engine.json names an engine; it is built in ("cpu", "fake") or a shared library that exports `ingot_engine_v1`. The
 * runtime owns scheduling, pages, sampling, token feedback and length updates; the engine owns weights, activations and
 * kernels. One instance serves one rank and is called by one thread.
 */
#pragma once
#include "ingot_op.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_ENGINE_ABI 1

/* A tensor of a cache group. Dimension 0 is P, pages, for kinds "paged" and "window", and S, slots, for kind "state".
 */
typedef struct {
  const char *name;
  int32_t dtype, rank;
  int64_t shape[INGOT_MAX_RANK]; /* shape[0] is 0: the runtime decides it */
} IngotStateTensor;

/* Layers that share one page table. */
typedef struct {
  const char *name;
  const char *
      kind; /* "paged": every token is kept; "window": tokens that left the window are not; "state": one row per slot */
  int32_t page_tokens; /* W, tokens per page */
  int32_t window;      /* tokens a query sees, itself included; 0: all */
  int32_t sharded;     /* 1: each rank holds its own heads; 0: replicated */
  int32_t n_tensors;
  const IngotStateTensor *tensors;
} IngotCacheGroup;

typedef struct {
  const char *name;
  int32_t dtype, rank;
  const char *dims[INGOT_MAX_RANK]; /* "T", "N", "4096" */
} IngotNamedTensor;

/* A named computation: "step" always; later "draft", "encode". */
typedef struct {
  const char *name;
  int32_t n_fields, n_outputs;
  const IngotNamedTensor *fields;  /* the step fields it reads */
  const IngotNamedTensor *outputs; /* "logits_NV", "hidden_TD", … */
} IngotFunction;

typedef struct {
  uint32_t size;
  int32_t n_functions, n_groups;
  const IngotFunction *functions;
  const IngotCacheGroup *groups;
  int32_t max_tokens;    /* T of one step */
  int32_t max_sequences; /* S of one step, and slots */
  int32_t max_rows;      /* N of one step */
  int32_t max_length;    /* tokens of one sequence */
  int32_t max_pages;     /* M, columns of a page table row: the most pages of one sequence in any group */
  int32_t vocab;
  int64_t weight_bytes, activation_bytes; /* resident, for the memory ledger */
  int32_t capturable; /* 1: what enqueue does for the first function may be captured into a graph of ctx->accelerator */
} IngotEngineSpec;

/* Memory of the cache groups: pools[g][t] is tensor t of group g, pages[g] its P. Page 0 belongs to nobody: padding
 * writes there. */
typedef struct {
  uint32_t size;
  int32_t n_groups;
  const int32_t *pages;
  void *const *const *pools;
} IngotPools;

/* One step as the engine sees it. `message` is the flat step message (kernels/runtime/step.h); `fields` are the tensors
 * the runtime made of it, in the order of the function's `fields`, on the engine's device. */
struct IngotStep {
  uint32_t size;
  int32_t function;
  uint64_t id;
  int32_t T, S, N, Q; /* tokens, sequences, rows that want logits, most tokens of one sequence */
  const void *message;
  size_t message_bytes;
  const IngotTensor *fields;
  int32_t n_fields;
  const IngotNamedTensor *named; /* what the fields are called: the function's `fields` */
  const IngotTensor *host_fields; /* the same on the host, for `prepare`; -1 among ids stands for a token that only the
                                     device knows. NULL: `fields` are on the host */
};

typedef struct {
  uint32_t size;
  const char *directory; /* the rank's folder: rank0/ */
  IngotCtx *ctx;
  int32_t threads;     /* CPU: size of the pool; 0: one per core */
  const char *kernels; /* "auto", "batch_invariant"; CPU: "avx512", "avx2", "portable", "naive"; NULL: auto */
  int32_t profile;     /* 1: take the time of every op */
  int32_t tune;        /* IngotTune: whether kernels may time their tactics while the engine is opened */
} IngotEngineOptions;

/* How long one op of the plan took, all its calls together. */
typedef struct {
  const char *name, *op; /* of the node; "domain::Name". They live as long as the engine */
  int64_t calls;
  double seconds, shortest; /* of all calls; of the quickest */
} IngotOpTime;

typedef struct {
  uint32_t size;
  int32_t abi;
  const char *name;
  int (*open)(const IngotEngineOptions *, void **self);
  const IngotEngineSpec *(*spec)(void *self);
  int (*bind)(void *self, const IngotPools *);
  /* On the host, before the launch: what kernels must know of this step. */
  int (*prepare)(void *self, const IngotStep *);
  /* Starts the step; outputs[i] receives where output i of the function lies when the stream has passed this point. */
  int (*enqueue)(void *self, const IngotStep *, void *stream, IngotTensor *outputs);
  /* Copies `bytes` bytes over weight `name`; refused if the name or size does not fit. */
  int (*refit)(void *self, const char *name, const void *data, size_t bytes);
  void (*close)(void *self);
  /* The first `capacity` ops' times, in the plan's order, and how many there are; 0 unless `profile` was asked for.
   * From any thread. NULL: this engine takes none. */
  int32_t (*times)(void *self, IngotOpTime *times, int32_t capacity);
  /* The name of the kernel that the i-th op of `times` runs; NULL: it has none. From any thread. NULL: not told. */
  const char *(*kernel)(void *self, int32_t i);
} IngotEngineApi;

/* The one symbol that an engine library exports. Returns NULL if it cannot serve a runtime of this ABI. */
const IngotEngineApi *ingot_engine_v1(uint32_t runtime_abi);

#ifdef __cplusplus
}
#endif
