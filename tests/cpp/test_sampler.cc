// Choosing tokens: against plain double arithmetic over a full sort.
#undef NDEBUG
#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "error.h"
#include "runtime/noise.h"
#include "runtime/sampler.h"
#include "runtime/softmax.h"

using namespace ingot;

namespace {

SamplingChange sampling(float temperature, int32_t top_k = 0, float top_p = 1,
                        uint64_t seed = 1, int32_t logprobs = -1,
                        float min_p = 0) {
  SamplingChange change;
  change.seed = seed;
  change.top_k = top_k;
  change.temperature = temperature;
  change.top_p = top_p;
  change.logprobs = logprobs;
  change.min_p = min_p;
  return change;
}

std::vector<float> random_logits(size_t vocab, uint32_t seed,
                                 float spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(vocab);
  for (float &logit : logits)
    logit = normal(random);
  return logits;
}

std::vector<int32_t> order_of(const std::vector<float> &logits) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  return order;
}

// The probability of every token, by the definition.
std::vector<double> probabilities(const std::vector<float> &logits,
                                  const SamplingChange &how) {
  std::vector<int32_t> order = order_of(logits);
  if (how.top_k > 0 && static_cast<size_t>(how.top_k) < order.size())
    order.resize(static_cast<size_t>(how.top_k));
  std::vector<double> weights(logits.size(), 0);
  double total = 0;
  for (const int32_t id : order)
    total += weights[id] = std::exp(
        (static_cast<double>(logits[id]) - logits[order[0]]) / how.temperature);
  double reached = 0, kept = 0;
  for (const int32_t id : order) {
    const bool inside =
        (how.top_p >= 1 || reached < how.top_p * total) &&
        weights[id] >= static_cast<double>(how.min_p); // best: 1
    reached += weights[id];
    if (!inside)
      weights[id] = 0;
    kept += weights[id];
  }
  for (double &weight : weights)
    weight /= kept;
  return weights;
}

// Of equal logits the lowest id wins.
void test_greedy() {
  Sampler sampler;
  for (const size_t vocab : {1u, 7u, 16u, 50u, 4096u, 4099u}) {
    std::vector<float> logits(vocab, 0);
    logits[vocab / 2] = logits[vocab - 1] = 2;
    assert(sampler.sample(logits, sampling(0), 0).token ==
           static_cast<int32_t>(vocab / 2));
    assert(sampler.sample(logits, sampling(1, 1), 0).token ==
           static_cast<int32_t>(vocab / 2));
  }
}

// Draws appear as often as the definition says, for every mixture of limits.
void test_draws_follow_the_definition() {
  Sampler sampler;
  const std::vector<float> logits = random_logits(300, 5, 2);
  const int32_t count = 20000;
  for (const SamplingChange &how :
       {sampling(1), sampling(0.6f), sampling(1, 10), sampling(1, 0, 0.7f),
        sampling(2, 100, 0.9f), sampling(1e-30f), sampling(1, 1000, 0.99f),
        sampling(50, 0, 0.95f), sampling(1, 0, 1, 1, -1, 0.05f),
        sampling(1.5f, 0, 1, 1, -1, 0.2f), sampling(2, 100, 0.9f, 1, -1, 0.1f),
        sampling(1, 40, 1, 1, -1, 0.02f), sampling(3, 0, 1, 1, -1, 1)}) {
    const std::vector<double> want = probabilities(logits, how);
    std::vector<int32_t> seen(logits.size(), 0);
    SamplingChange one = how;
    for (int32_t i = 0; i < count; ++i) {
      one.seed = static_cast<uint64_t>(i);
      ++seen[sampler.sample(logits, one, 3).token];
    }
    for (size_t id = 0; id < logits.size(); ++id) {
      const double spread = std::sqrt(want[id] * (1 - want[id]) * count);
      assert(want[id] > 0 || seen[id] == 0);
      assert(std::abs(seen[id] - want[id] * count) <= 5.5 * spread + 4);
    }
  }
}

// A draw depends on seed and position, and on nothing that was drawn before.
void test_draws_repeat() {
  const std::vector<float> logits = random_logits(1000, 6);
  Sampler first, second;
  std::vector<int32_t> forwards, backwards(100);
  for (int32_t i = 0; i < 100; ++i)
    forwards.push_back(first.sample(logits, sampling(1, 0, 1, 9), i).token);
  for (int32_t i = 99; i >= 0; --i)
    backwards[static_cast<size_t>(i)] =
        second.sample(logits, sampling(1, 0, 1, 9), i).token;
  assert(forwards == backwards);
  assert(std::count(forwards.begin(), forwards.end(), forwards[0]) < 100);
}

// Log-probabilities are log-softmax before every limit; the best come best
// first.
void test_logprobs() {
  Sampler sampler;
  const std::vector<float> logits = random_logits(5003, 7);
  double total = 0;
  for (const float logit : logits)
    total += std::exp(static_cast<double>(logit));
  const Sampled sampled =
      sampler.sample(logits, sampling(1.5f, 20, 0.9f, 3, 64), 0);
  assert(std::abs(sampled.logprob - (logits[sampled.token] - std::log(total))) <
         1e-5);
  const std::vector<int32_t> order = order_of(logits);
  assert(sampled.top.size() == 64);
  for (size_t i = 0; i < 64; ++i) {
    assert(sampled.top[i].id == order[i]);
    assert(std::abs(sampled.top[i].value -
                    (logits[order[i]] - std::log(total))) < 1e-5);
  }
}

// A given token's log-probability, and those of the best, are log-softmax.
void test_scores() {
  Sampler sampler;
  const std::vector<float> logits = random_logits(777, 9);
  double total = 0;
  for (const float logit : logits)
    total += std::exp(static_cast<double>(logit));
  const std::vector<int32_t> order = order_of(logits);
  for (const int32_t token : {0, 5, 776, order[0]}) {
    const Sampled scored = sampler.score(logits, token, 3, 1);
    assert(scored.token == token &&
           std::abs(scored.logprob - (logits[token] - std::log(total))) < 1e-5);
    assert(scored.top.size() == 3 && scored.top[2].id == order[2]);
  }
}

// The highest value and its first place, a NaN anywhere.
void test_extremes() {
  for (const size_t vocab :
       {1u, 3u, 15u, 16u, 17u, 1023u, 1024u, 1025u, 4099u}) {
    std::vector<float> logits =
        random_logits(vocab, static_cast<uint32_t>(vocab));
    for (size_t place = 0; place < vocab; place += 1 + vocab / 50) {
      logits[place] = 100;
      logits[vocab - 1] = 100;
      const Extremes found = extremes(logits);
      assert(found.highest == 100 && !found.has_nan &&
             found.at == static_cast<int32_t>(place));
      logits[place] = std::numeric_limits<float>::quiet_NaN();
      assert(extremes(logits).has_nan);
      logits[place] = 0;
    }
  }
}

// NaN and +inf end the request with a sentence; -inf is a token that is never
// drawn.
void test_bad_logits() {
  Sampler sampler;
  const float infinity = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {nan, infinity}) {
    for (size_t place = 0; place < 40; ++place) {
      std::vector<float> logits(40, 0);
      logits[place] = bad;
      bool refused = false;
      try {
        sampler.sample(logits, sampling(0), 0);
      } catch (const Error &) {
        refused = true;
      }
      assert(refused);
    }
  }
  std::vector<float> logits(40, -infinity);
  logits[17] = -3;
  for (uint64_t seed = 0; seed < 50; ++seed)
    assert(sampler.sample(logits, sampling(1, 0, 1, seed), 0).token == 17);
}

void test_noise_is_uniform() {
  double sum = 0, squares = 0;
  for (int32_t i = 0; i < 100000; ++i) {
    const double u = uniform(static_cast<uint64_t>(i / 100), i % 100);
    assert(u >= 0 && u < 1);
    sum += u;
    squares += u * u;
  }
  assert(std::abs(sum / 100000 - 0.5) < 0.005 &&
         std::abs(squares / 100000 - 1.0 / 3) < 0.005);
}

void test_exponentials_are_exact_enough() {
  std::vector<float> values, weights;
  for (float x = -69; x <= 0; x += 0.0137f)
    values.push_back(x);
  weights.resize(values.size());
  exponentials(values, 0, 1, weights.data());
  for (size_t i = 0; i < values.size(); ++i)
    assert(std::abs(weights[i] / std::exp(static_cast<double>(values[i])) - 1) <
           1e-6);
}

void measure() {
  Sampler sampler;
  for (const size_t vocab : {4096u, 32000u, 128000u}) {
    const std::vector<float> logits = random_logits(vocab, 8);
    for (const SamplingChange &how :
         {sampling(0), sampling(0, 0, 1, 1, 20), sampling(1),
          sampling(1, 0, 1, 1, -1, 0.05f), sampling(1, 50),
          sampling(0.8f, 50, 0.9f), sampling(1, 0, 0.9f)}) {
      double us = 1e9; // the least of several: the machine may be shared
      for (int32_t i = 0; i < 20; ++i) {
        const auto start = std::chrono::steady_clock::now();
        sampler.sample(logits, how, i);
        us = std::min(us, std::chrono::duration<double, std::micro>(
                              std::chrono::steady_clock::now() - start)
                              .count());
      }
      std::printf("sampler: V=%zu temperature=%g top_k=%d top_p=%g min_p=%g "
                  "logprobs=%d: %.1f us\n",
                  vocab, static_cast<double>(how.temperature), how.top_k,
                  static_cast<double>(how.top_p),
                  static_cast<double>(how.min_p), how.logprobs, us);
    }
  }
}

} // namespace

int main() {
  test_greedy();
  test_draws_follow_the_definition();
  test_draws_repeat();
  test_logprobs();
  test_scores();
  test_extremes();
  test_bad_logits();
  test_noise_is_uniform();
  test_exponentials_are_exact_enough();
  measure();
  std::puts("sampler: ok");
}
