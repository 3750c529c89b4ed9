#include "runtime/report.h"

#include <vector>

#include "files/json_writer.h"

namespace ingot {
namespace {

std::string groups_of(const Ranks &ranks) {
  JsonWriter groups('[');
  for (int32_t g = 0; g < ranks.spec().n_groups; ++g) {
    const IngotCacheGroup &group = ranks.spec().groups[g];
    JsonWriter entry('{');
    entry.string("name", group.name)
        .string("kind", group.kind)
        .number("page_tokens", group.page_tokens)
        .number("window", group.window);
    entry.number("pages", ranks.cache().pages()[static_cast<size_t>(g)])
        .number("bytes_per_page", bytes_per_page(group));
    entry.number("tensors", group.n_tensors);
    groups.raw("", entry.json());
  }
  return groups.json();
}

std::string limits_of(const OpenFacts &facts) {
  const IngotEngineSpec &spec = facts.ranks.spec();
  JsonWriter limits('{');
  limits.number("max_tokens", spec.max_tokens)
      .number("max_sequences", spec.max_sequences)
      .number("max_rows", spec.max_rows);
  limits.number("max_length", spec.max_length).number("token_budget", facts.options.token_budget);
  limits.number("sequences_in_flight", facts.options.max_sequences).number("sequence_length", facts.limits.length());
  return limits.json();
}

std::vector<int64_t> memory_of(const Rank &rank) {
  return {rank.spec().weight_bytes, rank.spec().activation_bytes, rank.cache().bytes(), rank.field_bytes()};
}

std::string memory_text(const std::vector<int64_t> &bytes) {
  JsonWriter memory('{');
  memory.number("weights", bytes[0]).number("activations", bytes[1]).number("cache", bytes[2]);
  return memory.number("step_fields", bytes[3]).json();
}

std::string times_of(const std::vector<IngotOpTime> &times, const std::vector<const char *> &kernels) {
  JsonWriter ops('[');
  for (size_t i = 0; i < times.size(); ++i) {
    const IngotOpTime &time = times[i];
    JsonWriter op('{');
    op.string("name", time.name).string("op", time.op).number("calls", time.calls);
    op.string("kernel", kernels[i] ? kernels[i] : "");
    op.real("seconds", time.seconds).real("shortest", time.shortest);
    ops.raw("", op.json());
  }
  return ops.json();
}

}  // namespace

std::string describe(const OpenFacts &facts) {
  const IngotEngineSpec &spec = facts.ranks.spec();
  JsonWriter engine('{');
  engine.string("directory", facts.manifest.directory)
      .string("engine", facts.manifest.engine)
      .string("ingot", facts.manifest.ingot);
  engine.string("dtype", facts.manifest.dtype)
      .number("vocab", spec.vocab)
      .number("hidden", facts.ranks.hidden_width())
      .number("embeddings", facts.ranks.embedding_width())
      .number("ranks", facts.manifest.ranks);
  engine.string("kernels", facts.kernels).number("threads", facts.threads);
  engine.string("policy", policy_names[static_cast<int32_t>(facts.options.policy)]).number("lag", facts.options.lag);
  engine.raw("limits", limits_of(facts)).raw("cache_groups", groups_of(facts.ranks));
  std::vector<int64_t> sums(4, 0);
  JsonWriter ranks('[');
  for (int32_t rank = 0; rank < facts.ranks.size(); ++rank) {
    const std::vector<int64_t> bytes = memory_of(facts.ranks.rank(rank));
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += bytes[i];
    ranks.raw("", memory_text(bytes));
  }
  engine.raw("rank_memory", ranks.json());
  return engine.raw("memory", memory_text(sums)).json();
}

std::string describe(const Statistics &statistics, const Rank &rank) {
  const auto count = [](uint64_t value) { return static_cast<int64_t>(value); };
  const SchedulerCounts &counts = statistics.counts;
  JsonWriter numbers('{');
  numbers.number("steps", count(counts.steps)).number("prompt_tokens", count(counts.prompt_tokens));
  numbers.number("generated_tokens", count(counts.generated_tokens))
      .number("cached_tokens", count(counts.matched_tokens));
  numbers.number("preemptions", count(counts.preemptions)).number("requests", count(statistics.requests));
  numbers.number("forks", count(counts.forks));
  numbers.number("running", count(statistics.running)).number("waiting", count(statistics.waiting));
  numbers.number("free_pages", statistics.free_pages).number("stopped", count(statistics.finished[INGOT_STOP]));
  numbers.number("ended_by_length", count(statistics.finished[INGOT_LENGTH]));
  numbers.number("cancelled", count(statistics.finished[INGOT_CANCELLED]))
      .number("failed", count(statistics.finished[INGOT_ERROR]));
  if (const std::vector<IngotOpTime> times = rank.times(); !times.empty())
    numbers.raw("ops", times_of(times, rank.kernels()));
  return numbers.json();
}

}  // namespace ingot
