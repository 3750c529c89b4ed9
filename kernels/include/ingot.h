/* Ingot's C API: open an engine folder, submit requests, poll events. Plain C, append only.
 *
 * Every function that can fail returns 0 or an IngotStatus; ingot_last_error() then says, for the calling thread, what
 * was asked, what was found and what to do. Every struct begins with its size. Requests may be submitted and cancelled
 * from any thread at any time; one thread at a time polls. Nothing calls back.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define INGOT_API
#else
#define INGOT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_ABI 1

typedef enum {
  INGOT_OK = 0,
  INGOT_INVALID = 2, /* an argument or a request is out of range */
  INGOT_FOLDER = 3,  /* the engine folder is incomplete, edited, or of another version */
  INGOT_MACHINE = 4, /* this machine cannot run it: memory, device, library */
  INGOT_FAILED = 5   /* the engine failed while running */
} IngotStatus;

typedef struct IngotEngine IngotEngine;

INGOT_API int32_t ingot_abi(void);
INGOT_API const char *ingot_version(void);
/* The last error of the calling thread; "" if there was none. */
INGOT_API const char *ingot_last_error(void);
/* The op rows as JSON: built-in ones, and those of `library` if it is not NULL. Free with ingot_free. NULL on error. */
INGOT_API char *ingot_op_table(const char *library);
INGOT_API void ingot_free(void *);

typedef struct {
  uint32_t size;
  int32_t threads;        /* CPU threads; 0: one per core */
  int64_t cache_bytes;    /* memory for cache groups, all together; 0: enough for max_sequences of max_length, at most a
                             quarter of memory */
  int32_t max_sequences;  /* in flight together; 0: what the engine was built for */
  int32_t token_budget;   /* tokens of one step; 0: what the engine was built for */
  int32_t verify_weights; /* 1: compare the checksum of every weight before opening */
  const char *kernels;    /* "auto"; "batch_invariant": a token's numbers depend neither on the other tokens of a step
                             nor on how many there are; CPU: "avx512", "avx2", "portable", "naive"; NULL: auto */
  int32_t profile;        /* 1: take the time of every op; ingot_statistics then lists them */
  const char *policy;     /* "max_utilization": requests are let in as long as pages last, and computed again when they
                             lose them; "guaranteed_no_evict": only when all can reach their max_tokens; NULL: the
                             first */
  int32_t lag;            /* 0, 1 or 2: steps scheduled ahead of the one that runs; -1: the engine's own, 1 where the
                             device samples, else 0. No options at all: -1 */
  double cache_fraction;  /* GPU: part of the memory that is free after weights and activations, for cache groups, where
                             cache_bytes is 0; 0: 0.9 */
  int32_t device;         /* GPU: which; as ingot_devices counts */
  int32_t tune;  /* GPU: 0: tactics of products are as they are known, or a rule; 1: unknown ones are timed, and
                    kept in a cache of the user; 2: and in the engine's folder */
  int32_t eager; /* GPU: 1: steps are launched op by op, never captured as graphs */
} IngotOptions;

INGOT_API int ingot_open(const char *directory, const IngotOptions *, IngotEngine **);
/* Cancels everything, waits for the step in flight, frees. Poll and submit must have returned. */
INGOT_API void ingot_close(IngotEngine *);
/* Facts about an open engine as JSON: limits, cache groups, memory ledger, chosen kernels. Free with ingot_free. */
INGOT_API char *ingot_describe(IngotEngine *);
/* Counters as JSON: steps, tokens, free pages, running and waiting requests, preemptions; with `profile`, ops: name,
 * op, kernel, calls, seconds of all calls and of the shortest. Free with ingot_free. */
INGOT_API char *ingot_statistics(IngotEngine *);

typedef struct {
  uint32_t size;
  const int32_t *ids; /* the prompt: 1 … max_length tokens, copied */
  int32_t n_ids;
  int32_t max_tokens; /* to generate; 0: only the prompt is computed */
  int32_t min_tokens; /* before, no end token and none of stop_ids is drawn, and stop strings are ignored */
  float temperature;  /* 0: greedy */
  float top_p;        /* 0 < p <= 1 */
  int32_t top_k;      /* 0: all */
  uint64_t seed;
  int32_t logprobs; /* -1: none; 0: of the chosen token; n: and of the n best, at most 64 */
  int32_t ignore_eos;
  const int32_t *stop_ids; /* besides the engine's own end tokens */
  int32_t n_stop_ids;
  const char *const *stops; /* strings, UTF-8; text ends before the first that appears */
  int32_t n_stops;
  float *logits;    /* NULL, or n_ids × vocab float32 that receive the prompt's logits; must stay valid until the last
                       event */
  int32_t priority; /* higher first */

  /* What follows may be missing: a smaller size means 0 and NULL, which ask for nothing. In the order in which they
   * change the logits, all before temperature, top_k and top_p; min_p comes after these. */
  const int32_t *bias_ids; /* logit_bias: bias_values[i], finite, is added to the logit of bias_ids[i] */
  const float *bias_values;
  int32_t n_bias;
  float repetition_penalty;     /* above 0; positive logits of tokens that the prompt or the generated text holds are
                                   divided by it, others multiplied; 0 or 1: none */
  float presence_penalty;       /* -2 … 2; taken once from the logit of every generated token */
  float frequency_penalty;      /* -2 … 2; taken as often as the token was generated */
  int32_t no_repeat_ngram_size; /* no n tokens in a row come twice, those of the prompt counted; 0: they may */
  int32_t n_bad_words;
  const int32_t *bad_words; /* token sequences that must not be completed, the tokens of one behind those of another */
  const int32_t *bad_word_lengths;
  float min_p;             /* 0 … 1; tokens less than min_p times as probable as the best are not drawn */
  int32_t n_prompt_top;    /* for prompt_top_…, at most 64 */
  float *prompt_logprobs;  /* NULL, or n_ids - 1 that receive the log-probability of each prompt token after the first;
                              must stay valid until the last event */
  int32_t *prompt_top_ids; /* NULL, or (n_ids - 1) × n_prompt_top: the best tokens at each place, best first */
  float *prompt_top_logprobs; /* NULL, or theirs */
  float *hidden; /* NULL, or n_ids × D float32, D being ingot_describe's "hidden", that receive what the head reads for
                    each token of the prompt; must stay valid until the last event. features=[hidden] builds it in */

  int32_t n;          /* texts that are told, events[i].index says of which; 0: 1. The prompt is computed once. Text 0
                         has the noise of `seed`, each other one its own */
  int32_t best_of;    /* texts that are sampled, n of them told: those with the highest log-probability per token, best
                         first, when all have ended; 0: n */
  int32_t beam_width; /* above 1: beam search as transformers' generate does it; n results, best first */
  int32_t early_stopping; /* of a beam search; 0: no, 1: with beam_width results, 2: only when no better one can come */
  float length_penalty;   /* of a beam search: scores are divided by (generated tokens ^ this) */
  int32_t no_reuse;       /* 1: it neither finds pages of other requests nor leaves its own for them */
  const char *salt;       /* NULL, or at most 1024 bytes: only requests of the same salt find each other's pages */
  const float *embeddings; /* NULL, or the prompt as n_ids × D float32 instead of ids, which is NULL then; D is
                              ingot_describe's "embeddings"; copied. features=[embeddings] builds it in */
} IngotRequest;

INGOT_API int ingot_submit(IngotEngine *, const IngotRequest *, uint64_t *id);
/* A request that has ended already is no error. */
INGOT_API int ingot_cancel(IngotEngine *, uint64_t id);

typedef enum { INGOT_TOKEN = 1, INGOT_FINISH = 2 } IngotEventKind;
typedef enum {
  INGOT_RUNNING = 0,
  INGOT_STOP = 1,   /* an end token, a stop token or a stop string */
  INGOT_LENGTH = 2, /* max_tokens, or the end of the cache */
  INGOT_CANCELLED = 3,
  INGOT_ERROR = 4 /* text holds the sentence */
} IngotFinish;

/* What happened to a request. A TOKEN event carries a token and the whole characters that are now certain (possibly
 * none: bytes of an unfinished character or of a possible stop string are held back); the FINISH event carries the rest
 * of the text. The token that ended a request by STOP is not text. Pointers stay valid until the next poll. */
typedef struct {
  uint32_t size;
  int32_t kind; /* IngotEventKind */
  uint64_t request;
  int32_t token;  /* TOKEN: its id */
  int32_t finish; /* FINISH: IngotFinish */
  float logprob;  /* TOKEN: natural logarithm of its probability before temperature, top_k and top_p, if asked for */
  int32_t n_top;
  const int32_t *top_ids;
  const float *top_logprobs;
  const char *text;
  int32_t text_bytes;
  int32_t prompt_tokens, cached_tokens, generated_tokens; /* FINISH: counts */
  double queued_s, first_token_s, total_s; /* FINISH: seconds from submit to the first step, first token, end */
  int32_t index;                           /* which of the request's n texts; each has a FINISH event of its own */
  float score; /* FINISH: best_of: log-probability per token; beam search: the sum of log-probabilities over tokens ^
                  length_penalty; else 0 */
} IngotEvent;

/* Waits until there is an event or `timeout` seconds have passed; returns how many of `capacity` were filled, or
 * -status. */
INGOT_API int32_t ingot_poll(IngotEngine *, IngotEvent *events, int32_t capacity, double timeout);

/* Runs one op by itself, for tests and tools. `node` is one line of plan.txt's grammar:
 *   op NAME DOMAIN::OP in=a,b,- out=y key=f:1e-5
 * `in` and `out` are contiguous tensors in the row's order; absent inputs have data NULL. `kernel` NULL: the one an
 * engine would take. `library` NULL: built-in ops. Returns an IngotStatus. */
typedef struct {
  void *data;
  int64_t shape[8];
  int32_t dtype, rank;
} IngotArray;
INGOT_API int ingot_run_op(const char *node, const char *library, const char *kernel, int32_t threads,
                           const IngotArray *in, int32_t n_in, IngotArray *out, int32_t n_out);
/* Output types and shapes of that line for these inputs (data may be NULL except for HOST inputs). */
INGOT_API int ingot_infer_op(const char *node, const char *library, const IngotArray *in, int32_t n_in, IngotArray *out,
                             int32_t n_out);
/* Bytes that the kernel which an engine would take for that line needs besides its tensors; inputs as above. */
INGOT_API int ingot_op_workspace(const char *node, const char *library, const IngotArray *in, int32_t n_in,
                                 int32_t n_out, int64_t *bytes);

/* Writes elements [first, first + count) of the counter-based random tensor `seed`: uniform in ±scale, as dtype, to
 * data. Element i is scale * (2 u - 1) with u = (mix(seed + (i + 1) * 0x9E3779B97F4A7C15) >> 40) / 2^24, mix being the
 * finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): z ^= z >> 30, z *= 0xBF58476D1CE4E5B9, z ^= z >> 27, z *=
 * 0x94D049BB133111EB, z ^= z >> 31. */
INGOT_API int ingot_random(uint64_t seed, uint64_t first, uint64_t count, float scale, int32_t dtype, void *data);

/* Measures this machine: what the speed of an engine is compared with. `kind` "read": bytes per second that `threads`
 * threads read, in order, of much more memory than caches hold; the best pass within `seconds`, at least one. */
INGOT_API int ingot_measure(const char *kind, int32_t threads, double seconds, double *result);
/* The same of an accelerator, "cuda", and its own memory. */
INGOT_API int ingot_measure_on(const char *device, int32_t ordinal, const char *kind, double seconds, double *result);

/* The accelerators that engines can use here, as JSON: devices: engine, ordinal, name, sm, sm_count, driver, runtime,
 * memory_bytes, free_bytes of each; why: "" or, where there is none, what is missing and what to do. Free with
 * ingot_free. */
INGOT_API char *ingot_devices(void);

/* Runs one op by itself on an accelerator, as ingot_run_op does on the CPU; all arrays lie on the host, and an output
 * whose data is an input's is that input, changed in place. Fails if the kernel changes another input or writes outside
 * its outputs, which are full of NaNs before. */
typedef struct {
  uint32_t size;
  const char *device; /* "cuda" */
  int32_t ordinal;
  const char *kernel; /* NULL: the one an engine would take */
  int32_t tactic;
  int32_t repeat;  /* > 0: so many times are taken, of calls in a captured graph that go round copies of all tensors */
  int32_t tactics; /* receives how many the kernel has for these sizes */
  double seconds;  /* receives the median time of one call */
  char chosen[64]; /* receives the kernel's name */
} IngotDeviceRun;
INGOT_API int ingot_run_op_on(const char *node, const char *library, IngotDeviceRun *run, const IngotArray *in,
                              int32_t n_in, IngotArray *out, int32_t n_out);

#ifdef __cplusplus
}
#endif
