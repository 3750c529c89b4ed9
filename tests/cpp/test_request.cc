// A request as it comes through the C API: copied and judged, every refusal by
// the field's name.
#undef NDEBUG
#include <cassert>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <memory>
#include <vector>

#include "runtime/request.h"
#include "small_folder.h"

using namespace ingot;

namespace {

constexpr RequestLimits limits{50, 100, 100, false};
constexpr float infinity = std::numeric_limits<float>::infinity();

IngotRequest plain() {
  static constexpr int32_t prompt[] = {1, 2, 3};
  IngotRequest request{};
  request.size = sizeof request;
  request.ids = prompt;
  request.n_ids = 3;
  request.max_tokens = 10;
  request.top_p = 1;
  request.logprobs = -1;
  return request;
}

template <typename Change> std::string refused(Change &&change) {
  IngotRequest request = plain();
  change(request);
  BadWordsShelf shelf;
  return refusal([&] { read_request(request, limits, shelf); });
}

void test_numbers_out_of_range() {
  for (const float bad : {-0.1f, 1.1f, std::nanf(""), infinity})
    assert(
        contains(refused([&](IngotRequest &r) { r.min_p = bad; }), "min_p is"));
  for (const float bad : {-1.f, std::nanf(""), infinity})
    assert(
        contains(refused([&](IngotRequest &r) { r.repetition_penalty = bad; }),
                 "repetition_penalty is"));
  for (const float bad : {-2.1f, 2.1f, std::nanf(""), -infinity}) {
    assert(contains(refused([&](IngotRequest &r) { r.presence_penalty = bad; }),
                    "presence_penalty is"));
    assert(
        contains(refused([&](IngotRequest &r) { r.frequency_penalty = bad; }),
                 "frequency_penalty is"));
  }
  assert(contains(refused([](IngotRequest &r) { r.no_repeat_ngram_size = -1; }),
                  "no_repeat_ngram_size is -1"));
  assert(contains(refused([](IngotRequest &r) { r.min_tokens = 11; }),
                  "min_tokens is 11"));
  for (const int32_t bad : {-1, 65})
    assert(contains(refused([&](IngotRequest &r) { r.n_prompt_top = bad; }),
                    "n_prompt_top is"));
}

void test_lists_that_do_not_fit() {
  const int32_t good[] = {7, 8}, unknown[] = {7, 50}, negative[] = {-1},
                lengths[] = {1, 1}, empty[] = {1, 0}, longer[] = {1025};
  const float values[] = {1, -1}, endless[] = {1, infinity},
              nan[] = {std::nanf("")};
  const auto bias = [&](const int32_t *ids, const float *with, int32_t count) {
    return refused([&](IngotRequest &r) {
      r.bias_ids = ids, r.bias_values = with, r.n_bias = count;
    });
  };
  assert(bias(good, values, 2).empty());
  assert(contains(bias(unknown, values, 2), "logit_bias: token 50"));
  assert(contains(bias(negative, values, 1), "logit_bias: token -1"));
  assert(contains(bias(good, endless, 2), "logit_bias of token 8 is inf"));
  assert(contains(bias(good, nan, 1), "logit_bias of token 7 is nan"));
  assert(contains(bias(nullptr, values, 2), "bias_ids is NULL") &&
         contains(bias(good, nullptr, 2), "bias_values"));
  assert(contains(bias(good, values, -1), "n_bias is -1") &&
         contains(bias(good, values, 51), "n_bias is 51"));

  const auto words = [&](const int32_t *tokens, const int32_t *with,
                         int32_t count) {
    return refused([&](IngotRequest &r) {
      r.bad_words = tokens, r.bad_word_lengths = with, r.n_bad_words = count;
    });
  };
  assert(words(good, lengths, 2).empty());
  assert(contains(words(unknown, lengths, 2), "bad_words[1] holds token 50"));
  assert(contains(words(negative, lengths, 1), "bad_words[0] holds token -1"));
  assert(contains(words(good, empty, 2), "bad_words[1] has 0 tokens"));
  assert(contains(words(good, longer, 1), "bad_words[0] has 1025 tokens"));
  assert(contains(words(nullptr, lengths, 2), "bad_words is NULL"));
  assert(contains(words(good, nullptr, 2), "bad_word_lengths is NULL"));
  assert(contains(words(good, lengths, INT_MAX), "n_bad_words is 2147483647"));
}

// Vectors instead of ids, where the engine reads them.
void test_embeddings() {
  const float vectors[] = {1, 2, 3, 4, 5, 6};
  const auto ask = [&](IngotRequest &r) {
    r.ids = nullptr, r.embeddings = vectors;
  };
  assert(contains(refused(ask), "features=[embeddings]"));
  RequestLimits wide = limits;
  wide.embedding = 2;
  IngotRequest given = plain();
  ask(given);
  BadWordsShelf shelf;
  const Request request = read_request(given, wide, shelf);
  assert(request.prompt == std::vector<int32_t>(3, embedded_token));
  assert(request.embeddings == std::vector<float>(vectors, vectors + 6));
  float logprobs[2];
  given.prompt_logprobs = logprobs;
  assert(contains(refusal([&] { read_request(given, wide, shelf); }),
                  "prompt_logprobs"));
  given.prompt_logprobs = nullptr;
  given.ids = plain().ids;
  assert(contains(refusal([&] { read_request(given, wide, shelf); }),
                  "both given"));
}

// A caller that ends before the newer fields, whatever lies behind, is as one
// that asks for nothing.
void test_an_older_callers_request() {
  struct Older {
    IngotRequest request;
  } older{plain()};
  older.request.size = offsetof(IngotRequest, bias_ids);
  older.request.n_bias = older.request.n_bad_words = -5;
  older.request.min_p = infinity;
  BadWordsShelf shelf;
  const Request request = read_request(older.request, limits, shelf);
  assert(!request.lists && request.min_p == 0 &&
         request.repetition_penalty == 1 && !request.wants_prompt_rows());
  assert(!LogitsProcessor::make(request.sampling(3), request.lists, {2}));
  older.request.size = offsetof(IngotRequest, bias_ids) - 1;
  assert(contains(refusal([&] { read_request(older.request, limits, shelf); }),
                  "size"));
}

// What is asked arrives in the message for the ranks, and the lists beside it.
void test_what_was_asked_arrives() {
  const int32_t words[] = {7, 8, 9}, lengths[] = {2, 1}, ids[] = {4};
  const float values[] = {-2};
  float logprobs[2];
  IngotRequest given = plain();
  given.bad_words = words, given.bad_word_lengths = lengths,
  given.n_bad_words = 2;
  given.bias_ids = ids, given.bias_values = values, given.n_bias = 1;
  given.min_p = 0.25f, given.repetition_penalty = 1.5f,
  given.presence_penalty = -1, given.frequency_penalty = 2;
  given.no_repeat_ngram_size = 3, given.min_tokens = 4,
  given.prompt_logprobs = logprobs;
  BadWordsShelf shelf;
  const Request request = read_request(given, limits, shelf);
  const SamplingChange sampling = request.sampling(3);
  assert(sampling.min_p == 0.25f && sampling.repetition_penalty == 1.5f &&
         sampling.presence_penalty == -1 && sampling.frequency_penalty == 2 &&
         sampling.no_repeat_ngram_size == 3 && sampling.min_tokens == 4 &&
         sampling.prompt == 3);
  std::vector<int32_t> forbidden;
  request.lists->bad_words->find(std::vector<int32_t>{5, 7}, forbidden);
  assert(forbidden == (std::vector<int32_t>{9, 8}));
  assert(request.lists->logit_bias[0].id == 4 &&
         request.lists->logit_bias[0].bias == -2);
  assert(request.wants_prompt_rows());
}

} // namespace

int main() {
  test_numbers_out_of_range();
  test_lists_that_do_not_fit();
  test_embeddings();
  test_an_older_callers_request();
  test_what_was_asked_arrives();
  std::puts("request: ok");
}
