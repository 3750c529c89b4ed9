#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "error.h"
#include "ingot.h"
#include "runtime/noise.h"

namespace ingot {
namespace {

constexpr size_t small_heap = 1024;  // up to here a heap beats partitioning the vocabulary

bool better(const Ranked &a, const Ranked &b) { return a.value != b.value ? a.value > b.value : a.id < b.id; }

// Of the weights, best first, whose sum is `total`: those at least min_p times the first, and of these the one whose
// part of the sum holds `noise`.
int32_t pick(std::span<const Ranked> ranked, double total, float min_p, double noise) {
  if (min_p > 0) {
    const float least = min_p * ranked[0].value;
    const auto improbable =
        std::find_if(ranked.begin(), ranked.end(), [&](const Ranked &r) { return r.value < least; });
    ranked = {ranked.begin(), improbable};
    total = 0;
    for (const Ranked &entry : ranked) total += entry.value;
  }
  double rest = noise * total;
  int32_t last = ranked[0].id;
  for (const Ranked &entry : ranked) {
    if (entry.value == 0) break;
    rest -= entry.value;
    last = entry.id;
    if (rest < 0) break;
  }
  return last;  // also where rounding leaves a rest: noise is below 1
}

// The highest logit, if any token can be chosen.
Extremes highest_of(std::span<const float> logits_V, int64_t position) {
  const Extremes found = extremes(logits_V);
  if (found.has_nan || !std::isfinite(found.highest)) {
    refuse_logits(found.has_nan ? "logits that are not a number" : "no finite logits", position);
  }
  return found;
}

}  // namespace

void refuse_logits(const char *gave, int64_t position) {
  fail(INGOT_FAILED,
       "the model gave %s for token %lld of the sequence, so none can be chosen; the engine goes on, but its weights "
       "or its dtype do not fit this prompt",
       gave, static_cast<long long>(position));
}

Sampled Sampler::sample(std::span<const float> logits_V, const SamplingChange &sampling, int64_t position) {
  const Extremes found = highest_of(logits_V, position);
  Sampled sampled;
  sampled.token = choose(logits_V, sampling, position, found);
  if (sampling.logprobs >= 0) add_logprobs(logits_V, found.highest, sampling.logprobs, sampled);
  return sampled;
}

Sampled Sampler::sample(std::span<float> logits_V, const SamplingChange &sampling, int64_t position,
                        LogitsProcessor &processor) {
  // The model's own row is judged first; reading it in order also brings it near before the rules jump about in it.
  const Extremes found = highest_of(logits_V, position);
  processor.apply(logits_V, sampling);
  const Extremes changed = extremes(logits_V);
  Sampled sampled;
  if (std::isfinite(changed.highest)) sampled.token = choose(logits_V, sampling, position, changed);
  processor.restore(logits_V);
  if (sampled.token < 0) {
    fail(INGOT_FAILED,
         "bad_words, no_repeat_ngram_size and min_tokens together forbid every token that the model gives a chance as "
         "token "
         "%lld of the sequence; relax one of them",
         static_cast<long long>(position));
  }
  if (sampling.logprobs >= 0) add_logprobs(logits_V, found.highest, sampling.logprobs, sampled);
  processor.add(sampled.token);
  return sampled;
}

Sampled Sampler::score(std::span<const float> logits_V, int32_t token, int32_t count, int64_t position) {
  Sampled scored;
  scored.token = token;
  add_logprobs(logits_V, highest_of(logits_V, position).highest, count, scored);
  return scored;
}

int32_t Sampler::choose(std::span<const float> logits_V, const SamplingChange &sampling, int64_t position,
                        const Extremes &found) {
  if (sampling.temperature == 0 || sampling.top_k == 1) return found.at;
  return draw(logits_V, sampling, found.highest, uniform(sampling.seed, position));
}

void Sampler::add_logprobs(std::span<const float> logits_V, float highest, int32_t count, Sampled &sampled) {
  const double total = exponentials(logits_V, highest, 1, nullptr), logarithm = std::log(total) + highest;
  sampled.logprob = static_cast<float>(logits_V[static_cast<size_t>(sampled.token)] - logarithm);
  if (count == 0) return;
  best(logits_V, static_cast<size_t>(count));
  sampled.top = best_;
  for (Ranked &entry : sampled.top) entry.value = static_cast<float>(entry.value - logarithm);
}

int32_t Sampler::draw(std::span<const float> logits_V, const SamplingChange &sampling, float highest, double noise) {
  // A tiny temperature must not make inf * 0: the scale stays finite, and everything but the best becomes 0.
  const float scale = std::min(1 / sampling.temperature, std::numeric_limits<float>::max());
  const size_t vocab = logits_V.size();
  const size_t kept = sampling.top_k > 0 ? std::min(vocab, static_cast<size_t>(sampling.top_k)) : vocab;
  if (kept == vocab && sampling.top_p >= 1) return draw_from_all(logits_V, highest, scale, sampling.min_p, noise);

  // The weight of all that top_k leaves; with top_k it is known once its tokens are.
  double everything = kept == vocab ? exponentials(logits_V, highest, scale, nullptr) : 0;
  for (size_t count = kept == vocab ? std::min<size_t>(64, vocab) : kept;; count = std::min(kept, 8 * count)) {
    best(logits_V, count);
    const double mass = weigh_best(highest, scale);
    if (kept < vocab) everything = mass;
    double reached = 0;
    for (size_t i = 0; i < best_.size(); ++i) {
      reached += best_[i].value;
      if (sampling.top_p < 1 && reached >= sampling.top_p * everything)
        return pick({best_.data(), i + 1}, reached, sampling.min_p, noise);
    }
    if (count == kept) return pick(best_, reached, sampling.min_p, noise);
  }
}

// best_'s logits become weights; their sum.
double Sampler::weigh_best(float highest, float scale) {
  weights_.resize(best_.size());
  for (size_t i = 0; i < best_.size(); ++i) weights_[i] = best_[i].value;
  const double mass = exponentials(weights_, highest, scale, weights_.data());
  for (size_t i = 0; i < best_.size(); ++i) best_[i].value = weights_[i];
  return mass;
}

int32_t Sampler::draw_from_all(std::span<const float> logits_V, float highest, float scale, float min_p, double noise) {
  weights_.resize(logits_V.size());
  double total = exponentials(logits_V, highest, scale, weights_.data());
  if (min_p > 0) {  // the best weighs 1
    total = 0;
    for (float &weight : weights_) {
      weight = weight < min_p ? 0 : weight;
      total += weight;
    }
  }
  double rest = noise * total;
  int32_t last = 0;
  for (size_t id = 0; id < logits_V.size(); ++id) {
    if (weights_[id] == 0) continue;
    rest -= weights_[id];
    last = static_cast<int32_t>(id);
    if (rest < 0) break;
  }
  return last;
}

// best_ becomes the `count` best values with their ids, best first.
void Sampler::best(std::span<const float> values, size_t count) {
  count = std::min(count, values.size());
  best_.clear();
  const auto vocab = static_cast<int32_t>(values.size());
  if (count > small_heap) {
    for (int32_t id = 0; id < vocab; ++id) best_.push_back({values[static_cast<size_t>(id)], id});
    if (count < values.size())
      std::nth_element(best_.begin(), best_.begin() + static_cast<ptrdiff_t>(count), best_.end(), better);
    best_.resize(count);
    std::sort(best_.begin(), best_.end(), better);
    return;
  }
  for (int32_t id = 0; id < vocab; ++id) {
    const float value = values[static_cast<size_t>(id)];
    if (best_.size() == count) {
      if (value <= best_.front().value) continue;  // an equal one with a higher id is worse
      std::pop_heap(best_.begin(), best_.end(), better);
      best_.pop_back();
    }
    best_.push_back({value, id});
    std::push_heap(best_.begin(), best_.end(), better);
  }
  std::sort_heap(best_.begin(), best_.end(), better);
}

}  // namespace ingot
