// Where an engine meets its caller in C: what is thrown inside becomes a status and a sentence recorded through ctx.
#pragma once
#include <exception>
#include <new>

#include "error.h"
#include "ingot.h"
#include "ingot_engine.h"

namespace ingot {

template <typename Body>
int at_boundary(IngotCtx *ctx, Body &&body) {
  try {
    body();
    return INGOT_OK;
  } catch (const Error &error) {
    ctx->host->error(ctx, "%s", error.what());
    return error.status;
  } catch (const std::bad_alloc &) {
    ctx->host->error(
        ctx, "memory ran out; build the engine with a smaller max_tokens or max_sequences, or give it more memory");
    return INGOT_MACHINE;
  } catch (const std::exception &error) {
    ctx->host->error(ctx, "the engine failed: %s", error.what());
    return INGOT_FAILED;
  }
}

}  // namespace ingot
