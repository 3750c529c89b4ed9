#include "runtime/report.h"

#include "files/json_writer.h"

namespace ingot {
namespace {

std::string groups_of(const Rank &rank) {
  JsonWriter groups('[');
  for (int32_t g = 0; g < rank.spec().n_groups; ++g) {
    const IngotCacheGroup &group = rank.spec().groups[g];
    JsonWriter entry('{');
    entry.string("name", group.name)
        .string("kind", group.kind)
        .number("page_tokens", group.page_tokens)
        .number("window", group.window);
    entry.number("pages", rank.cache().pages()[static_cast<size_t>(g)]).number("bytes_per_page", bytes_per_page(group));
    entry.number("tensors", group.n_tensors);
    groups.raw("", entry.json());
  }
  return groups.json();
}

std::string limits_of(const OpenFacts &facts) {
  const IngotEngineSpec &spec = facts.rank.spec();
  JsonWriter limits('{');
  limits.number("max_tokens", spec.max_tokens)
      .number("max_sequences", spec.max_sequences)
      .number("max_rows", spec.max_rows);
  limits.number("max_length", spec.max_length).number("token_budget", facts.options.token_budget);
  limits.number("sequences_in_flight", facts.options.max_sequences).number("sequence_length", facts.limits.length());
  return limits.json();
}

}  // namespace

std::string describe(const OpenFacts &facts) {
  const IngotEngineSpec &spec = facts.rank.spec();
  JsonWriter engine('{');
  engine.string("directory", facts.manifest.directory)
      .string("engine", facts.manifest.engine)
      .string("ingot", facts.manifest.ingot);
  engine.string("dtype", facts.manifest.dtype).number("vocab", spec.vocab).number("ranks", facts.manifest.ranks);
  engine.string("kernels", facts.kernels).number("threads", facts.threads);
  engine.raw("limits", limits_of(facts)).raw("cache_groups", groups_of(facts.rank));
  JsonWriter memory('{');
  memory.number("weights", spec.weight_bytes).number("activations", spec.activation_bytes);
  memory.number("cache", facts.rank.cache().bytes()).number("step_fields", facts.rank.field_bytes());
  return engine.raw("memory", memory.json()).json();
}

std::string describe(const Statistics &statistics) {
  const auto count = [](uint64_t value) { return static_cast<int64_t>(value); };
  const SchedulerCounts &counts = statistics.counts;
  JsonWriter numbers('{');
  numbers.number("steps", count(counts.steps)).number("prompt_tokens", count(counts.prompt_tokens));
  numbers.number("generated_tokens", count(counts.generated_tokens))
      .number("cached_tokens", count(counts.matched_tokens));
  numbers.number("preemptions", count(counts.preemptions)).number("requests", count(statistics.requests));
  numbers.number("running", count(statistics.running)).number("waiting", count(statistics.waiting));
  numbers.number("free_pages", statistics.free_pages).number("stopped", count(statistics.finished[INGOT_STOP]));
  numbers.number("ended_by_length", count(statistics.finished[INGOT_LENGTH]));
  numbers.number("cancelled", count(statistics.finished[INGOT_CANCELLED]))
      .number("failed", count(statistics.finished[INGOT_ERROR]));
  return numbers.json();
}

}  // namespace ingot
