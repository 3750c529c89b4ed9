// An engine whose tokens a test knows by heart and which it can make fail: the token after t is t + 1.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ingot_engine.h"

// It has no weights and no folder, and never looks at its cache.
struct StubEngine {
  int32_t vocab = 32, max_tokens = 64, max_sequences = 8, max_length = 256;
  std::atomic<int> fail_at{-1}, nan_token{-1};
  int steps = 0;
  IngotCtx *ctx = nullptr;
  std::vector<float> logits;
  std::vector<IngotNamedTensor> fields, outputs;
  IngotStateTensor tensor{"k0", INGOT_I32, 2, {0, 16}};
  IngotCacheGroup group{"full", "paged", 16, 0, 1, 1, &tensor};
  IngotFunction function{};
  IngotEngineSpec spec{};
};

inline const IngotEngineSpec *prepare_spec(StubEngine &stub) {
  stub.fields = {{"ids_T", INGOT_I32, 1, {"T"}},          {"rows_N", INGOT_I32, 1, {"N"}},
                 {"positions_T", INGOT_I32, 1, {"T"}},    {"sequences_T", INGOT_I32, 1, {"T"}},
                 {"pages0_SM", INGOT_I32, 2, {"S", "M"}}, {"cells0_T", INGOT_I32, 1, {"T"}}};
  stub.outputs = {{"logits_NV", INGOT_F32, 2, {"N", "32"}}};
  stub.function = {"step", static_cast<int32_t>(stub.fields.size()), 1, stub.fields.data(), stub.outputs.data()};
  stub.spec = {sizeof stub.spec,
               1,
               1,
               &stub.function,
               &stub.group,
               stub.max_tokens,
               stub.max_sequences,
               stub.max_sequences,
               stub.max_length,
               stub.max_length / 16,
               stub.vocab,
               0,
               0};
  stub.logits.assign(static_cast<size_t>(stub.max_sequences) * static_cast<size_t>(stub.vocab), 0);
  return &stub.spec;
}

inline StubEngine *next_stub = nullptr;  // what open() opens: the interface passes no test objects

inline int open_stub(const IngotEngineOptions *options, void **self) {
  next_stub->ctx = options->ctx;
  *self = next_stub;
  return 0;
}
inline const IngotEngineSpec *spec_stub(void *self) { return prepare_spec(*static_cast<StubEngine *>(self)); }
inline int bind_stub(void *, const IngotPools *) { return 0; }
inline int prepare_stub(void *, const IngotStep *) { return 0; }

inline int enqueue_stub(void *self, const IngotStep *step, void *, IngotTensor *outputs) {
  StubEngine &stub = *static_cast<StubEngine *>(self);
  if (stub.steps++ == stub.fail_at)
    return stub.ctx->host->error(stub.ctx, "the stub was told to fail at step %d", stub.fail_at.load()), 5;
  std::fill_n(stub.logits.begin(), static_cast<size_t>(step->N) * static_cast<size_t>(stub.vocab), 0.f);
  for (int32_t n = 0; n < step->N; ++n) {
    const int32_t t = static_cast<const int32_t *>(step->fields[1].data)[n],
                  id = static_cast<const int32_t *>(step->fields[0].data)[t];
    stub.logits[static_cast<size_t>(n * stub.vocab + (id + 1) % stub.vocab)] = id == stub.nan_token ? std::nanf("") : 5;
  }
  outputs[0] = {stub.logits.data(), {step->N, stub.vocab}, {stub.vocab, 1}, INGOT_F32, 2};
  return 0;
}
inline int refit_stub(void *, const char *, const void *, size_t) { return 0; }
inline void close_stub(void *) {}

inline constexpr IngotEngineApi stub_api = {
    sizeof(IngotEngineApi), INGOT_ENGINE_ABI, "stub",     open_stub, spec_stub, bind_stub,
    prepare_stub,           enqueue_stub,     refit_stub, close_stub};
