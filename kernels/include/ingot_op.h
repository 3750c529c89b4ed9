/* The contract between an op library, an engine and the runtime: plain C, append only.
 *
 * An op is one row (IngotOp): its name, its formula, its inputs and outputs with shapes in words, its attributes, and
 * any number of kernels per device. Engines, the ONNX schemas, the op tests and the reference page all read that row. A
 * shared library with more ops exports `ingot_ops_v1` and nothing else. Every function returns 0, or a non-zero code
 * after ctx->host->error(...). No exception and no C++ type crosses this line: a stranger's wheel may come from another
 * compiler. There are no globals: several ranks live in one process, a thread each, and everything a kernel keeps hangs
 * on the `self` that `create` returned.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_OP_ABI 1
#define INGOT_MAX_RANK 8

/* Element types. The numbers are those of onnx.TensorProto.DataType; the words are used in rows, plan.txt and messages.
 */
enum IngotDtype {
  INGOT_F32 = 1,     /* f32 */
  INGOT_U8 = 2,      /* u8 */
  INGOT_I8 = 3,      /* i8 */
  INGOT_I32 = 6,     /* i32 */
  INGOT_I64 = 7,     /* i64 */
  INGOT_BOOL = 9,    /* bool, one byte */
  INGOT_F16 = 10,    /* f16 */
  INGOT_BF16 = 16,   /* bf16 */
  INGOT_F8E4M3 = 17, /* f8e4m3: FLOAT8E4M3FN */
  INGOT_F8E5M2 = 19, /* f8e5m2 */
  INGOT_U4 = 21,     /* u4: two in a byte, the even element in the low half */
  INGOT_I4 = 22      /* i4 */
};

enum IngotDevice { INGOT_CPU = 0, INGOT_CUDA = 1 };

enum IngotTune {
  INGOT_TUNE_NEVER = 0, /* known tactics, else a rule */
  INGOT_TUNE_TIME = 1,  /* `create` may time tactics that are not known, and keep them in a cache of the user */
  INGOT_TUNE_BAKE = 2   /* and keep what this engine needs in its directory */
};

enum IngotRole {
  INGOT_ACTIVATION = 0, /* computed in this step */
  INGOT_WEIGHT = 1,     /* constant; a kernel may ask for a packed layout */
  INGOT_STATE = 2,      /* a tensor of a cache group, mutated in place */
  INGOT_STEP = 3,       /* a field of the step (kernels/runtime/step_fields.h) */
  INGOT_HOST = 4        /* a constant of integers that lives on the host: shapes, axes */
};

typedef struct {
  const char *name;
  const char *shape; /* "T D": one word per dimension; a word is bound by its first use and checked by the others;
                        numbers stand for themselves; an output may use arithmetic over words and integer attributes: "T
                        (H+2*G)*K"; "..." is any rank, described by `infer` */
  const char *type;  /* "f32|f16|bf16", or "X:f32|f16|bf16": every argument that says X has one and the same type; an
                        output may  say "=dtype": what the attribute of that name says */
  uint8_t role;      /* IngotRole */
  uint8_t optional;  /* an input that may be absent */
  uint8_t variadic;  /* the last input or output, repeated one or more times */
  int8_t alias;      /* outputs: the input whose memory this output may take over; -1 for none. An output that aliases a
                        STATE input is that state */
} IngotArg;

typedef struct {
  const char *name;
  const char *type; /* int float string ints floats dtype */
  const char *def;  /* the default as text; NULL: required; "" for string and lists: empty */
} IngotAttr;

typedef struct {
  void *data; /* NULL: an optional input that is absent */
  int64_t shape[INGOT_MAX_RANK];
  int64_t stride[INGOT_MAX_RANK]; /* in elements; the CPU and CUDA interpreters always pass contiguous tensors */
  int32_t dtype, rank;
} IngotTensor;

typedef struct IngotNode IngotNode; /* one use of an op in a graph; read it through IngotHost */
typedef struct IngotStep IngotStep; /* the step that is being prepared; read it through IngotHost */
typedef struct IngotCtx IngotCtx;

/* Services of the host. Append only; a library compares `size` before it uses a later entry. */
typedef struct IngotHost {
  uint32_t size;
  /* Records a sentence for the caller; returns 1, so that a kernel may `return host->error(ctx, "…")`. printf format.
   */
  int (*error)(IngotCtx *, const char *format, ...);
  void (*log)(IngotCtx *, int level, const char *format, ...);

  /* A node's attributes, with the row's defaults filled in. ints and floats: returns the count and sets *values. */
  const char *(*node_name)(const IngotNode *);
  int64_t (*attr_int)(const IngotNode *, const char *name);
  double (*attr_float)(const IngotNode *, const char *name);
  const char *(*attr_string)(const IngotNode *, const char *name);
  int32_t (*attr_ints)(const IngotNode *, const char *name, const int64_t **values);
  int32_t (*attr_floats)(const IngotNode *, const char *name, const double **values);
  /* Type and rank of input or output i; a dimension that does not depend on the step as a number, one that does as its
     largest value. 0 for an absent input's dtype. */
  int32_t (*input_count)(const IngotNode *);
  int32_t (*output_count)(const IngotNode *);
  void (*input)(const IngotNode *, int32_t i, IngotTensor *); /* data is set for WEIGHT and HOST inputs */
  void (*output)(const IngotNode *, int32_t i, IngotTensor *);

  /* The step's host-side fields by name ("positions_T"); NULL data if the step has no such field. */
  void (*step_field)(const IngotStep *, const char *name, IngotTensor *);

  /* Calls body(arg, begin, end) over parts of 0…n-1 on the engine's one thread pool and waits. grain: the least a part
   * should hold. */
  void (*parallel_for)(IngotCtx *, int64_t n, int64_t grain, void (*body)(void *arg, int64_t begin, int64_t end),
                       void *arg);
} IngotHost;

struct IngotCtx {
  uint32_t size;
  int32_t device;       /* IngotDevice */
  int32_t sm, sm_count; /* CUDA: 90 for sm_90; streaming multiprocessors. CPU: 0, threads of the pool */
  int32_t rank, ranks;
  void *stream, *copy_stream, *blas, *comm; /* comm: an IngotComm of ingot_comm.h; NULL where there is one rank */
  void *workspace;
  size_t workspace_bytes;
  const IngotHost *host;
  void *owner; /* the engine's own; kernels leave it alone */
  const char *directory; /* of the engine; NULL: none. Tactics that were baked into it lie there */
  int32_t tune;          /* IngotTune */
  const struct IngotDeviceApi *accelerator; /* of ingot_device.h; NULL: the device is the host itself */
  void *accelerator_self;                   /* what its `open` gave; its errors are recorded with this context */
};

typedef struct {
  const IngotTensor *in, *out;
  int32_t n_in, n_out;
  const int64_t *dims; /* the row's words, in the order of their first use in inputs, then outputs; bound once a step */
} IngotCall;

enum IngotKernelFlag {
  INGOT_CAPTURABLE = 1,      /* enqueue may be captured into a CUDA graph */
  INGOT_PDL = 2,             /* launches programmatically dependent */
  INGOT_BATCH_INVARIANT = 4, /* a token's result does not depend on the other tokens of the step, bit for bit */
  INGOT_REFERENCE = 8        /* the naive float32 definition that every other kernel is tested against */
};

/* One way to run an op on a device. An op may have several: "naive", "avx512", "xqa", "fa2". The first supported one in
 * the row's order is taken, so the definition stands last. Entries other than `enqueue` may be NULL. */
typedef struct {
  const char *name;
  int32_t device;         /* IngotDevice */
  int32_t sm_min, sm_max; /* CUDA only; 0: no limit */
  uint32_t flags;         /* IngotKernelFlag */
  /* Whether this kernel can run this node on this machine; if not, returns 0 and writes the reason to `why`. */
  int (*supports)(const IngotNode *, const IngotCtx *, char *why, size_t n);
  /* The layout that WEIGHT input `arg` must be packed into; NULL or "row": as in the graph. */
  const char *(*layout)(const IngotNode *, int32_t arg);
  /* Scratch bytes for these words; monotone in them. Packed with the activations. */
  size_t (*workspace)(const IngotNode *, const int64_t *dims);
  /* How many tactics there are to time for these words; 0: none. */
  int32_t (*tactics)(const IngotNode *, const int64_t *dims);
  /* Once per node and rank: descriptors, tables, semaphores. */
  int (*create)(const IngotNode *, IngotCtx *, void **self);
  /* On the host, before capture or launch, once per plan key and step. */
  int (*prepare)(void *self, const IngotStep *, IngotCtx *);
  /* The work itself. No allocation, no synchronisation, no reading of device memory on the host. */
  int (*enqueue)(void *self, const IngotCall *, int32_t tactic, IngotCtx *);
  void (*destroy)(void *self);
} IngotKernel;

typedef struct IngotOp {
  uint32_t size;
  int32_t version;    /* of this op's meaning; recorded in plan.txt */
  const char *domain; /* "" for standard ONNX, "ingot" for ours, a stranger's own for theirs */
  const char *name;
  const char *doc; /* the formula, with its source */
  const IngotArg *in, *out;
  const IngotAttr *attrs;
  int32_t n_in, n_out, n_attrs;
  /* Output types and shapes where the words do not suffice; NULL otherwise. `in` carries data for HOST inputs. */
  int (*infer)(const IngotNode *, IngotCtx *, const IngotTensor *in, int32_t n_in, IngotTensor *out, int32_t n_out);
  const IngotKernel *kernels;
  int32_t n_kernels;
} IngotOp;

/* The one symbol that an op library exports. Returns the rows, or NULL if it cannot serve a host of this ABI. */
const IngotOp *ingot_ops_v1(uint32_t host_abi, int32_t *count);

#ifdef __cplusplus
}
#endif
