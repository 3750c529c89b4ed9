/* The contract between the runtime and an accelerator: memory, streams, graphs, kernels, sampling. Plain C, append
 * only.
 *
 * libingot knows no CUDA: what it needs of a GPU is in this table, which libingot_cuda.so offers (`ingot_device_v1`)
 * and which libingot opens at run time. Tests implement it in host memory. Every function returns 0, or a non-zero code
 * after ctx->host->error(...), where ctx is the context given to `open`. One `self` serves one rank and is called by
 * one thread; `stream` is a stream of the device, NULL the context's own (ctx->stream).
 */
#pragma once
#include "ingot_op.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_DEVICE_ABI 1

typedef struct {
  char name[128]; /* "NVIDIA H200" */
  int32_t sm, sm_count;
  int32_t driver, runtime; /* as cudaDriverGetVersion says: 13000 */
  int64_t memory_bytes, free_bytes;
} IngotDeviceInfo;

/* Kernels for ops whose rows are known: they stand before the row's own. */
typedef struct {
  const char *domain, *name; /* of the op */
  const IngotKernel *kernels;
  int32_t n_kernels;
} IngotOpKernels;

/* How the next token of a slot is chosen, as IngotRequest says; 64 bytes, an array of them lies on the device, one a
 * slot. */
typedef struct {
  uint64_t seed;
  float temperature, top_p, min_p;
  int32_t top_k;
  int32_t logprobs; /* >= 0: the token's log-probability is wanted */
  int32_t unused[7];
  uint64_t reserved;
} IngotSlotSampling;

/* What one sequence of a step got. token -1: its logits are NaN, +inf, or all -inf. */
typedef struct {
  int32_t token;
  float logprob; /* of the token by the model's own logits; 0 unless wanted */
} IngotSampledToken;

/* A step's small numbers, written by the host into pinned memory that the device reads: one contiguous block of int32,
 * cut into parts. `begin_step` copies each part to its place and puts last tokens into ids. */
typedef struct {
  void *target;  /* on the device */
  int32_t first; /* int32s from the block's begin */
  int32_t count;
} IngotFieldPart;

/* The blocks of the steps in flight: a ring in pinned memory. Which one a launch reads is counted on the device (*turn
 * modulo ring), so that a captured graph needs no change. Everything lies where the device can reach it. */
typedef struct {
  const int32_t *ring; /* pinned: n_ring blocks of block_words */
  int32_t n_ring, block_words;
  int32_t *turn; /* on the device, 0 … n_ring - 1: the block that begin_step reads; end_step moves on */
  const IngotFieldPart *parts; /* on the host; read while the call lasts */
  int32_t n_parts;
  int32_t *ids_T;             /* on the device, filled by the parts; -1 becomes the slot's last token */
  const int32_t *sequences_T; /* on the device, filled by the parts */
  const int32_t *slots_S;     /* likewise; NULL: ids never are -1 */
  const int32_t *last_tokens; /* on the device, one a slot */
  int32_t T;                  /* tokens, padding included */
} IngotBeginStep;

/* Chooses the next token of each sequence from its last row of logits, makes it the slot's last token, and tells the
 * host. */
typedef struct {
  const float *logits_NV;
  int64_t vocab;
  int32_t S;              /* sequences, padding included */
  const int32_t *rows_S;  /* on the device: row of logits of each sequence; -1: it samples nothing */
  const int32_t *slots_S; /* on the device */
  const int32_t
      *positions_S; /* on the device: where the drawn token will stand: noise is a function of (seed, position) */
  const IngotSlotSampling *sampling; /* on the device, one a slot */
  int32_t *last_tokens;              /* on the device, one a slot */
  IngotSampledToken *results;        /* pinned: n_ring blocks of max_sequences */
  int32_t max_sequences;
  int32_t *turn; /* see IngotBeginStep; block *turn of results is written, then *turn becomes (*turn + 1) % n_ring */
  int32_t n_ring;
  uint64_t *done;  /* pinned: becomes the number of steps ended, after the results can be seen */
  void *workspace; /* sample_workspace(max S, vocab) bytes on the device */
} IngotEndStep;

/* A weight that is made, not read: what checkpoint=random says, see ingot_random of ingot.h. Rows first…first+rows of a
 * matrix whose element (row, column) is number (offset + row * columns + column) of the sequence `seed`. */
typedef struct {
  uint64_t seed, offset;
  int64_t rows, columns;
  float scale;  /* elements are uniform in [-scale, scale) */
  int32_t ones; /* 1: every element is 1 */
} IngotRandomRows;

/* What is made of a random matrix that the build would have quantized; by the formulas of plugins/quant. */
enum IngotCodesPart { INGOT_CODES = 0, INGOT_SCALES = 1, INGOT_ZERO_POINTS = 2 };

typedef struct {
  int32_t source;      /* f32, f16 or bf16: what the random numbers are rounded to before they are quantized */
  int32_t codes;       /* f8e4m3, i8, i4 or u4 */
  int32_t scale_dtype; /* f32, f16 or bf16; f32 for f8e4m3 */
  int32_t zero_points; /* 1: asymmetric, a zero point for each group; 0 for f8e4m3, 1 for u4, 0 for i4 */
  int64_t group;       /* columns that share a scale; a divisor of the columns, all of them for f8e4m3 */
  int32_t part;        /* IngotCodesPart: which of them is written */
  int32_t unused;
} IngotRandomCodes;

typedef struct IngotDeviceApi {
  uint32_t size;
  int32_t abi;
  const char *name; /* "cuda" */

  /* How many devices can be used; if 0, `why` says what is missing (driver, device, its age) and what to do. */
  int32_t (*count)(char *why, size_t n);
  int (*info)(int32_t ordinal, IngotDeviceInfo *info, char *why, size_t n);
  /* Fills ctx->device, sm, sm_count, stream, copy_stream, blas. */
  int (*open)(int32_t ordinal, IngotCtx *ctx, void **self);
  void (*close)(void *self);

  /* Memory on the device, at multiples of 256 bytes, and pinned memory of the host that the device can reach at the
   * same address. Contents are undefined. */
  int (*allocate)(void *self, size_t bytes, void **memory);
  void (*release)(void *self, void *memory);
  int (*allocate_pinned)(void *self, size_t bytes, void **memory);
  void (*release_pinned)(void *self, void *memory);

  /* In stream order. upload and download take host memory of any kind. What upload reads may change when it returns if
   * it is pageable, after an event or synchronize if it is pinned; what download writes can be read after these. */
  int (*upload)(void *self, void *to, const void *from, size_t bytes, void *stream);
  int (*download)(void *self, void *to, const void *from, size_t bytes, void *stream);
  int (*copy)(void *self, void *to, const void *from, size_t bytes, void *stream);
  int (*fill)(void *self, void *to, int32_t byte, size_t bytes, void *stream);
  /* Reads a mapped file's bytes through pinned staging; done when it returns. */
  int (*load)(void *self, void *to, const void *from, size_t bytes);
  int (*synchronize)(void *self, void *stream);

  int (*create_event)(void *self, void **event);
  void (*destroy_event)(void *self, void *event);
  int (*record)(void *self, void *event, void *stream);
  int (*wait_for)(void *self, void *event);               /* the host waits */
  int (*let_wait)(void *self, void *event, void *stream); /* the stream waits */
  /* Seconds between two recorded events that have passed. */
  int (*elapsed)(void *self, void *begin, void *end, double *seconds);
  /* 0 while the device works or has done its work; what went wrong otherwise. For a host that polls `done`. */
  int (*health)(void *self);

  /* What is enqueued on ctx->stream between the two becomes a graph. */
  int (*capture_begin)(void *self);
  int (*capture_end)(void *self, void **graph);
  int (*launch)(void *self, void *graph);
  void (*destroy_graph)(void *self, void *graph);

  /* Kernels of known ops for this device. */
  const IngotOpKernels *(*kernels)(int32_t *count);

  int (*begin_step)(void *self, const IngotBeginStep *step);
  size_t (*sample_workspace)(int32_t max_sequences, int64_t vocab);
  int (*end_step)(void *self, const IngotEndStep *step);

  /* Writes parts' rows one after another to `to`, as f32, f16 or bf16. */
  int (*random)(void *self, const IngotRandomRows *parts, int32_t n_parts, int32_t dtype, void *to);
  /* Writes the codes, the scales or the zero points of parts' rows, row by row; 4-bit codes two in a byte. */
  int (*random_codes)(void *self, const IngotRandomRows *parts, int32_t n_parts, const IngotRandomCodes *how, void *to);

  /* Bytes per second of the best pass within `seconds`, at least one, over much more memory than caches hold, which it
   * allocates meanwhile. */
  int (*read_rate)(void *self, double seconds, double *bytes_per_second);
} IngotDeviceApi;

/* The one symbol that a device library exports. Returns NULL if it cannot serve a runtime of this ABI. */
const IngotDeviceApi *ingot_device_v1(uint32_t runtime_abi);

#ifdef __cplusplus
}
#endif
