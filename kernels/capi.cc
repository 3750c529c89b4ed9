// The functions of ingot.h that open and use an engine. Whatever is thrown inside ends here as a status and a sentence.
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "capi_boundary.h"
#include "engines/device_library.h"
#include "engines/registry.h"
#include "error.h"
#include "files/manifest.h"
#include "files/token_bytes.h"
#include "ingot.h"
#include "runtime/executor.h"
#include "runtime/policy.h"
#include "runtime/report.h"

using namespace ingot;

namespace {

constexpr const char *version = "0.1.0";

IngotOptions read_options(const IngotOptions *given) {
  IngotOptions options{};
  options.lag = -1;
  if (given) std::memcpy(&options, given, std::min<size_t>(given->size, sizeof options));
  if (options.threads < 0 || options.threads > 4096)
    fail(INGOT_INVALID, "threads is %d; it must be from 0 (one per core) to 4096", options.threads);
  if (options.cache_bytes < 0)
    fail(INGOT_INVALID, "cache_bytes is %lld; it must be 0 or more", static_cast<long long>(options.cache_bytes));
  if (!(options.cache_fraction >= 0 && options.cache_fraction <= 1))
    fail(INGOT_INVALID, "cache_fraction is %g; it must be from 0 (0.9) to 1", options.cache_fraction);
  if (options.device < 0 || options.device > 1023)
    fail(INGOT_INVALID, "device is %d; it must be 0 or more", options.device);
  if (options.tune < INGOT_TUNE_NEVER || options.tune > INGOT_TUNE_BAKE)
    fail(INGOT_INVALID, "tune is %d; it must be 0 (never), 1 (time) or 2 (bake)", options.tune);
  if (options.lag < -1 || options.lag > most_lag)
    fail(INGOT_INVALID, "lag is %d; it must be from 0 to %d steps, or -1 for the engine's own", options.lag, most_lag);
  const std::string kernels = options.kernels ? options.kernels : "auto";
  for (const char *known : {"auto", "batch_invariant", "avx512", "avx2", "portable", "naive"}) {
    if (kernels == known) return options;
  }
  fail(INGOT_INVALID, "kernels is '%.40s'; it must be auto, batch_invariant, avx512, avx2, portable or naive",
       kernels.c_str());
}

std::string kernels_of(const Manifest &manifest, const IngotOptions &options) {
  const std::string kernels = options.kernels ? options.kernels : "auto";
  if (manifest.engine == "cuda" && kernels != "auto" && kernels != "batch_invariant") {
    fail(INGOT_INVALID, "kernels is '%s', which are the CPU's; an engine for cuda takes auto or batch_invariant",
         kernels.c_str());
  }
  return kernels;
}

Policy policy_of(const char *name) {
  if (!name) return Policy::max_utilization;
  for (const Policy policy : {Policy::max_utilization, Policy::guaranteed_no_evict}) {
    if (std::strcmp(name, policy_names[static_cast<int32_t>(policy)]) == 0) return policy;
  }
  fail(INGOT_INVALID, "policy is '%.40s'; it must be max_utilization or guaranteed_no_evict", name);
}

int32_t within(const char *name, int32_t value, int32_t built) {
  if (value < 0 || value > built)
    fail(INGOT_INVALID, "%s is %d; this engine was built for at most %d (0 means all)", name, value, built);
  return value ? value : built;
}

Manifest open_manifest(const char *directory, const IngotOptions &options) {
  if (!directory) fail(INGOT_INVALID, "the engine's directory is NULL");
  return read_manifest(directory, options.verify_weights != 0);
}

const IngotDeviceApi *device_of(const Manifest &manifest) {
  if (manifest.engine != "cuda") return nullptr;
  if (manifest.ranks > 1) {
    fail(INGOT_MACHINE, "the engine has %d ranks, and engine cuda serves one; build it with parallel=none",
         manifest.ranks);
  }
  std::string why;
  const IngotDeviceApi *device = find_device(manifest.engine, &why);
  if (!device) fail(INGOT_MACHINE, "%s", why.c_str());
  return device;
}

// The ranks of an engine, among which `threads` are divided; each has one at least.
std::vector<RankOptions> ranks_of(const Manifest &manifest, int32_t threads, const std::string &kernels,
                                  const IngotOptions &options) {
  std::vector<RankOptions> ranks;
  for (int32_t rank = 0; rank < manifest.ranks; ++rank) {
    const int32_t own = threads / manifest.ranks + (rank < threads % manifest.ranks ? 1 : 0);
    ranks.push_back({manifest.rank_directory(rank), std::max(1, own), kernels});
    ranks.back().profile = options.profile != 0;
    ranks.back().device = device_of(manifest);
    ranks.back().ordinal = options.device;
    ranks.back().tune = options.tune;
    ranks.back().graphs = options.eager == 0;
  }
  return ranks;
}

TokenBytes open_tokens(const std::string &path) {
  struct stat facts;
  return stat(path.c_str(), &facts) == 0 ? TokenBytes::open(path) : TokenBytes();
}

}  // namespace

struct IngotEngine {
  IngotEngine(const char *directory, const IngotOptions &options)
      : manifest(open_manifest(directory, options)),
        kernels(kernels_of(manifest, options)),
        threads(options.threads ? options.threads
                                : static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()))),
        tokens(open_tokens(manifest.rank_directory(0) + "/tokens.bin")),
        ranks(find_engine(manifest.engine, manifest.library), ranks_of(manifest, threads, kernels, options)) {
    const IngotEngineSpec &spec = ranks.spec();
    if (spec.vocab != manifest.vocab || spec.n_groups != static_cast<int32_t>(manifest.groups.size())) {
      fail(INGOT_FOLDER,
           "%s: engine.json says %d tokens in the vocabulary and %zu cache groups, the engine says %d and %d; rebuild "
           "it",
           directory, manifest.vocab, manifest.groups.size(), spec.vocab, spec.n_groups);
    }
    leader.max_sequences = within("max_sequences", options.max_sequences, spec.max_sequences);
    leader.token_budget = within("token_budget", options.token_budget, spec.max_tokens);
    leader.end_ids = manifest.end_ids;
    leader.policy = policy_of(options.policy);
    leader.lag = options.lag >= 0 ? options.lag : ranks.samples() ? 1 : 0;
    ranks.bind(pages_of_groups(spec, options.cache_bytes, leader.max_sequences, leader.token_budget, manifest.ranks,
                               available_bytes(options)),
               leader.max_sequences);
    executor.emplace(ranks, tokens, leader);
  }

  // What cache groups may take of a device's memory; 0 on the CPU.
  int64_t available_bytes(const IngotOptions &options) const {
    const double fraction = options.cache_fraction > 0 ? options.cache_fraction : 0.9;
    return static_cast<int64_t>(fraction * static_cast<double>(ranks.rank(0).free_bytes()));
  }

  Manifest manifest;
  std::string kernels;
  int32_t threads;
  TokenBytes tokens;
  Ranks ranks;
  LeaderOptions leader{};
  std::optional<Executor> executor;
};

namespace {

Executor &executor_of(IngotEngine *engine) {
  if (!engine) fail(INGOT_INVALID, "the engine is NULL; open one with ingot_open");
  return *engine->executor;
}

}  // namespace

extern "C" {

int32_t ingot_abi(void) { return INGOT_ABI; }

const char *ingot_version(void) { return version; }

const char *ingot_last_error(void) { return last_error(); }

void ingot_free(void *memory) { std::free(memory); }

int ingot_open(const char *directory, const IngotOptions *given, IngotEngine **engine) {
  return guarded([&] {
    if (!engine) fail(INGOT_INVALID, "ingot_open has nowhere to put the engine: its last argument is NULL");
    *engine = nullptr;
    *engine = new IngotEngine(directory, read_options(given));
  });
}

void ingot_close(IngotEngine *engine) { delete engine; }

char *ingot_describe(IngotEngine *engine) {
  char *json = nullptr;
  guarded([&] {
    const RequestLimits limits = executor_of(engine).limits();
    json = owned(
        describe(OpenFacts{engine->manifest, engine->ranks, limits, engine->leader, engine->threads, engine->kernels}));
  });
  return json;
}

char *ingot_statistics(IngotEngine *engine) {
  char *json = nullptr;
  guarded([&] {
    const Statistics statistics = executor_of(engine).statistics();
    json = owned(describe(statistics, engine->ranks.rank(0)));
  });
  return json;
}

int ingot_submit(IngotEngine *engine, const IngotRequest *request, uint64_t *id) {
  return guarded([&] {
    Executor &executor = executor_of(engine);
    if (!request || !id) fail(INGOT_INVALID, "ingot_submit: %s is NULL", request ? "id" : "the request");
    *id = executor.submit(*request);
  });
}

int ingot_cancel(IngotEngine *engine, uint64_t id) {
  return guarded([&] { executor_of(engine).cancel(id); });
}

int32_t ingot_poll(IngotEngine *engine, IngotEvent *events, int32_t capacity, double timeout) {
  int32_t count = 0;
  const int status = guarded([&] { count = executor_of(engine).poll(events, capacity, timeout); });
  return status ? -status : count;
}

}  // extern "C"
