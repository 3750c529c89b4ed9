/* How the ranks of one engine speak with each other. Plain C, append only.
 *
 * IngotCtx.comm points to an IngotComm, one for each rank; NULL where there is one rank. Threads of one process, and
 * later NCCL, implement it. Every rank makes the same calls in the same order with the same counts and types. `stream`
 * is the device's queue (NULL on the CPU, where a call returns when its result is there). Every function returns 0, or
 * a non-zero code when it failed on this or any other rank; last_error then says why, and every later call fails too.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_COMM_ABI 1

enum IngotReduction { INGOT_SUM = 0, INGOT_MAX = 1 };

typedef struct IngotComm IngotComm;

struct IngotComm {
  uint32_t size;
  int32_t abi;
  int32_t rank, ranks;
  /* out[i] = the sum or the largest of every rank's in[i], in the order of ranks, the same bits everywhere. Sums of
   * narrow floats are made in float32 and rounded once; a NaN makes the largest NaN. `out` may be `in`. `dtype` is an
   * IngotDtype: f32, f16, bf16 or i32. */
  int (*all_reduce)(IngotComm *, const void *in, void *out, size_t count, int32_t dtype, int32_t reduction,
                    void *stream);
  /* out has ranks · count elements: those of rank 0, then of rank 1, … `in` may be its own place in `out`. Any dtype of
   * whole bytes. */
  int (*all_gather)(IngotComm *, const void *in, void *out, size_t count, int32_t dtype, void *stream);
  /* data of every rank becomes data of `root`. */
  int (*broadcast)(IngotComm *, void *data, size_t count, int32_t dtype, int32_t root, void *stream);
  /* Returns when every rank has called it. */
  int (*barrier)(IngotComm *, void *stream);
  /* A sentence, "" if nothing failed; valid until the comm ends. */
  const char *(*last_error)(IngotComm *);
  void *self; /* the implementation's own */
};

#ifdef __cplusplus
}
#endif
