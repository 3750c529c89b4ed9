// Penalties, bias, forbidden tokens: against the definitions, written down
// naively over the whole sequence.
#undef NDEBUG
#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "error.h"
#include "runtime/sampler.h"
#include "small_folder.h"

using namespace ingot;

namespace {

using Tokens = std::vector<int32_t>;
constexpr float infinity = std::numeric_limits<float>::infinity();

struct Settings {
  SamplingChange sampling;
  std::vector<TokenBias> bias;
  std::vector<Tokens> words;
  Tokens ends;

  std::shared_ptr<const TokenLists> lists() const {
    Tokens tokens, lengths;
    for (const Tokens &word : words) {
      tokens.insert(tokens.end(), word.begin(), word.end());
      lengths.push_back(static_cast<int32_t>(word.size()));
    }
    return std::make_shared<const TokenLists>(
        bias, BadWordsShelf().get(tokens, lengths));
  }
  std::optional<LogitsProcessor> processor() const {
    return LogitsProcessor::make(sampling, lists(), ends);
  }
};

bool ends_with(const Tokens &tokens, const int32_t *begin, size_t count) {
  return tokens.size() >= count &&
         std::equal(begin, begin + count,
                    tokens.end() - static_cast<ptrdiff_t>(count));
}

// What the row becomes, rule by rule over all tokens.
std::vector<float> changed(std::vector<float> row, const Settings &settings,
                           const Tokens &tokens) {
  const SamplingChange &how = settings.sampling;
  for (const TokenBias &bias : settings.bias)
    row[static_cast<size_t>(bias.id)] += bias.bias;
  for (const int32_t id : std::set<int32_t>(tokens.begin(), tokens.end())) {
    float &score = row[static_cast<size_t>(id)];
    score = score < 0 ? score * how.repetition_penalty
                      : score / how.repetition_penalty;
  }
  std::map<int32_t, int> counts;
  for (size_t i = static_cast<size_t>(how.prompt); i < tokens.size(); ++i)
    ++counts[tokens[i]];
  for (const auto &[id, count] : counts) {
    row[static_cast<size_t>(id)] -=
        static_cast<float>(count) * how.frequency_penalty;
    row[static_cast<size_t>(id)] -= how.presence_penalty;
  }
  const auto n = static_cast<size_t>(how.no_repeat_ngram_size);
  for (size_t end = n; n > 0 && end <= tokens.size(); ++end) {
    if (ends_with(tokens, tokens.data() + end - n, n - 1))
      row[static_cast<size_t>(tokens[end - 1])] = -infinity;
  }
  for (const Tokens &word : settings.words) {
    if (ends_with(tokens, word.data(), word.size() - 1))
      row[static_cast<size_t>(word.back())] = -infinity;
  }
  if (static_cast<int32_t>(tokens.size()) - how.prompt < how.min_tokens) {
    for (const int32_t id : settings.ends)
      row[static_cast<size_t>(id)] = -infinity;
  }
  return row;
}

Tokens random_tokens(std::mt19937 &random, size_t count, int32_t vocab) {
  Tokens tokens(count);
  for (int32_t &token : tokens)
    token = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab));
  return tokens;
}

Settings random_settings(std::mt19937 &random, int32_t vocab, int32_t prompt) {
  const auto chance = [&] { return random() % 2 == 0; };
  const auto number = [&](float low, float high) {
    return low + (high - low) * static_cast<float>(random() % 1000) / 1000;
  };
  Settings settings;
  settings.sampling.prompt = prompt;
  if (chance())
    settings.sampling.repetition_penalty = number(0.5f, 2);
  if (chance())
    settings.sampling.presence_penalty = number(-2, 2);
  if (chance())
    settings.sampling.frequency_penalty = number(-2, 2);
  if (chance())
    settings.sampling.no_repeat_ngram_size =
        1 + static_cast<int32_t>(random() % 4);
  if (chance())
    settings.sampling.min_tokens = static_cast<int32_t>(random() % 20);
  for (size_t i = chance() ? 5 : 0; i > 0; --i)
    settings.bias.push_back(
        {random_tokens(random, 1, vocab)[0], number(-5, 5)});
  for (size_t i = chance() ? 30 : 0; i > 0; --i)
    settings.words.push_back(random_tokens(random, 1 + random() % 4, vocab));
  settings.ends = {vocab - 1, 0};
  return settings;
}

std::vector<float> random_row(std::mt19937 &random, int32_t vocab) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> row(static_cast<size_t>(vocab));
  for (float &score : row)
    score = random() % 20 ? normal(random) : -infinity;
  return row;
}

bool same_bits(const std::vector<float> &a, const std::vector<float> &b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Every mixture of rules changes a row as the definitions say, step after step,
// and restore() undoes it to the bit.
void test_rules_are_the_definitions() {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    const int32_t vocab = 2 + static_cast<int32_t>(random() % 12),
                  prompt = 1 + static_cast<int32_t>(random() % 9);
    const Settings settings = random_settings(random, vocab, prompt);
    Tokens tokens = random_tokens(random, static_cast<size_t>(prompt), vocab);
    auto processor = settings.processor();
    for (int step = 0; step < 25; ++step) {
      const std::vector<float> row = random_row(random, vocab),
                               want = changed(row, settings, tokens);
      std::vector<float> got = row;
      if (processor) {
        processor->follow(tokens, static_cast<int32_t>(tokens.size()));
        processor->apply(got, settings.sampling);
      }
      assert(got == want);
      if (processor)
        processor->restore(got);
      assert(same_bits(got, row));
      tokens.push_back(
          static_cast<int32_t>(random() % static_cast<uint32_t>(vocab)));
      if (processor && random() % 2)
        processor->add(tokens.back()); // else follow() learns of it
    }
  }
}

// Whatever happened in between (tokens taken back, drawn anew, other tokens),
// only the tokens themselves decide.
void test_state_is_a_function_of_the_tokens() {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    const Settings settings = random_settings(random, 10, 4);
    auto processor = settings.processor();
    if (!processor)
      continue;
    for (int step = 0; step < 20; ++step) {
      const Tokens known =
          random_tokens(random, 4 + random() % 30, step % 5 ? 2 : 10);
      const auto length =
          static_cast<int32_t>(4 + random() % (known.size() - 3));
      const std::vector<float> row = random_row(random, 10);
      std::vector<float> got = row;
      processor->follow(known, length);
      processor->apply(got, settings.sampling);
      assert(got == changed(row, settings,
                            Tokens(known.begin(), known.begin() + length)));
      processor->restore(got);
      for (size_t i = random() % 4; i > 0; --i)
        processor->add(static_cast<int32_t>(random() % 10));
    }
  }
}

// Tokens count from when they are drawn: a step that has not committed yet
// changes the next draw already.
void test_drawn_tokens_count_at_once() {
  Settings settings;
  settings.sampling.prompt = 2;
  settings.sampling.frequency_penalty = 2;
  auto processor = settings.processor();
  Sampler sampler;
  const Tokens committed{1, 2};
  Tokens drawn;
  for (int32_t step = 0; step < 4; ++step) {
    std::vector<float> row{0, 1, 3, 2.5f};
    processor->follow(committed, 2 + step);
    drawn.push_back(
        sampler.sample(row, settings.sampling, 2 + step, *processor).token);
  }
  assert(drawn == (Tokens{2, 3, 1, 2}));
  assert(!refusal([&] {
            processor->follow(committed, 7);
          }).empty()); // nobody knows the seventh
}

// A request that asks for nothing has no processor.
void test_nothing_asked_is_nothing_done() {
  Settings settings;
  settings.ends = {3};
  assert(!settings.processor());
  assert(!LogitsProcessor::make(SamplingChange{}, nullptr, {}));
  settings.sampling.min_tokens = 1;
  assert(settings.processor());
  settings.ends.clear();
  assert(!settings.processor());
}

// When every token is forbidden the request fails and says why; the row and
// later draws are as before. Log-probabilities are those of the untouched row.
void test_everything_forbidden() {
  Settings settings;
  settings.words = {{0}, {1}, {2}};
  auto processor = settings.processor();
  Sampler sampler;
  const std::vector<float> row{1, 5, 2, -infinity};
  std::vector<float> used = row;
  assert(contains(
      refusal([&] { sampler.sample(used, settings.sampling, 0, *processor); }),
      "bad_words"));
  assert(same_bits(used, row));
  used[1] = std::numeric_limits<float>::quiet_NaN();
  used[3] = infinity;
  assert(contains(
      refusal([&] { sampler.sample(used, settings.sampling, 0, *processor); }),
      "not a number"));

  settings.words = {{1}};
  settings.sampling.logprobs = 2;
  processor = settings.processor();
  used = row;
  const Sampled sampled =
      sampler.sample(used, settings.sampling, 0, *processor);
  const double logarithm = std::log(std::exp(1.) + std::exp(5.) + std::exp(2.));
  assert(sampled.token == 2 &&
         std::abs(sampled.logprob - (2 - logarithm)) < 1e-5);
  assert(sampled.top[0].id == 1 &&
         std::abs(sampled.top[0].value - (5 - logarithm)) < 1e-5);
}

// Tokens without an id, which a prompt of vectors has, are neither penalised
// nor repeated nor part of a word.
void test_tokens_without_an_id() {
  Settings settings;
  settings.sampling.prompt = 4;
  settings.sampling.repetition_penalty = 2;
  settings.words = {{3, 2}};
  const std::vector<float> row{4, 4, 4, 4};
  for (int32_t n = 0; n < 4; ++n) {
    settings.sampling.no_repeat_ngram_size = n;
    auto processor = settings.processor();
    Tokens tokens(4, embedded_token);
    processor->follow(tokens, 4);
    std::vector<float> got = row;
    processor->apply(got, settings.sampling);
    assert(got == row);
    tokens.push_back(1);
    processor->follow(tokens, 5);
    processor->apply(got, settings.sampling);
    assert(got == (std::vector<float>{4, n == 1 ? -infinity : 2, 4, 4}));
  }
}

// Requests with equal words share one object; others do not.
void test_equal_words_are_shared() {
  BadWordsShelf shelf;
  const Tokens tokens{1, 2, 3}, other{1, 2, 4}, two{1, 2}, turned{2, 1};
  const BadWords *first = shelf.get(tokens, two).get();
  assert(shelf.get(tokens, two).get() == first); // kept, although nobody has it
  const auto held = shelf.get(tokens, turned);
  assert(held && held.get() != first && shelf.get(tokens, turned) == held);
  assert(shelf.get(other, two) != held && shelf.get(tokens, turned) == held &&
         !shelf.get({}, {}));
}

// No bias or penalty makes a finite logit infinite, which would read as a
// broken model.
void test_overflow_stays_finite() {
  Settings settings;
  settings.sampling.repetition_penalty = 1e-38f;
  settings.sampling.prompt = 2;
  settings.bias = {{2, 3e38f}, {2, 3e38f}, {3, -3e38f}, {3, -3e38f}};
  auto processor = settings.processor();
  const Tokens tokens{0, 1};
  std::vector<float> row{50, -50, 1, 1};
  processor->follow(tokens, 2);
  processor->apply(row, settings.sampling);
  for (const float score : row)
    assert(std::isfinite(score));
}

// 100,000 bad words: building is quick, a step costs next to nothing.
void measure_bad_words() {
  std::mt19937 random(3);
  Tokens tokens, lengths;
  for (int i = 0; i < 100000; ++i) {
    const Tokens word = random_tokens(random, 2 + random() % 5, 32000);
    tokens.insert(tokens.end(), word.begin(), word.end());
    lengths.push_back(static_cast<int32_t>(word.size()));
  }
  auto start = std::chrono::steady_clock::now();
  const auto us = [&] {
    return std::chrono::duration<double, std::micro>(
               std::chrono::steady_clock::now() - start)
        .count();
  };
  const BadWords words(tokens, lengths);
  std::printf("bad words: %.0f us to build 100000 of them\n", us());
  Tokens forbidden;
  start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i)
    words.find(std::span(tokens).first(static_cast<size_t>(i) * 300),
               forbidden);
  std::printf("bad words: %.2f us to find those that a text could complete "
              "(%.1f tokens)\n",
              us() / 1000, static_cast<double>(forbidden.size()) / 1000);
}

// 256 sequences of 1000 tokens, greedy, a vocabulary of 32000.
void measure_sampling() {
  constexpr int32_t sequences = 256, vocab = 32000, length = 1000;
  std::mt19937 random(4);
  std::vector<float> logits(static_cast<size_t>(sequences) * vocab);
  std::normal_distribution<float> normal(0, 3);
  for (float &logit : logits)
    logit = normal(random);
  Settings none, repetition, penalties, ngrams, everything;
  repetition.sampling.repetition_penalty = 1.1f;
  penalties.sampling.presence_penalty = penalties.sampling.frequency_penalty =
      0.5f;
  ngrams.sampling.no_repeat_ngram_size = 3;
  everything.sampling = repetition.sampling;
  everything.sampling.presence_penalty = everything.sampling.frequency_penalty =
      0.5f;
  everything.sampling.no_repeat_ngram_size = 3;
  everything.sampling.min_tokens = length;
  everything.bias = {{5, 1}, {6, -1}};
  everything.words = {{1, 2, 3}, {7}};
  everything.ends = {2};
  Sampler sampler;
  const std::pair<const char *, Settings *> cases[] = {
      {"nothing", &none},
      {"repetition_penalty", &repetition},
      {"presence and frequency", &penalties},
      {"no_repeat_ngram_size", &ngrams},
      {"everything", &everything}};
  for (const auto &[name, settings] : cases) {
    settings->sampling.prompt = length / 2;
    std::vector<Tokens> tokens;
    std::vector<std::optional<LogitsProcessor>> processors;
    for (int32_t i = 0; i < sequences; ++i) {
      tokens.push_back(random_tokens(random, length, vocab));
      processors.push_back(settings->processor());
    }
    double us = 1e9;
    for (int round = 0; round < 8; ++round) { // the first fills the history
      const auto start = std::chrono::steady_clock::now();
      for (size_t i = 0; i < sequences; ++i) {
        const std::span<float> row =
            std::span(logits).subspan(i * vocab, vocab);
        if (processors[i]) {
          processors[i]->follow(tokens[i], length);
          sampler.sample(row, settings->sampling, length, *processors[i]);
        } else {
          sampler.sample(std::span<const float>(row), settings->sampling,
                         length);
        }
      }
      us = std::min(us, std::chrono::duration<double, std::micro>(
                            std::chrono::steady_clock::now() - start)
                            .count());
    }
    std::printf("logits processor: %s: %.2f us a sequence\n", name,
                us / sequences);
  }
}

} // namespace

int main() {
  test_rules_are_the_definitions();
  test_state_is_a_function_of_the_tokens();
  test_drawn_tokens_count_at_once();
  test_nothing_asked_is_nothing_done();
  test_everything_forbidden();
  test_tokens_without_an_id();
  test_equal_words_are_shared();
  test_overflow_stays_finite();
  measure_bad_words();
  measure_sampling();
  std::puts("logits processor: ok");
}
