#include "runtime/request.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "error.h"
#include "runtime/text.h"

namespace ingot {
namespace {

constexpr int32_t most_stops = 64, most_stop_ids = 1024, most_logprobs = 64, most_bad_words = 1 << 20,
                  most_bad_word_tokens = 1024;
constexpr size_t most_stop_bytes = 1024, most_salt_bytes = 1024;

void check_integer(const char *name, int32_t value, int32_t low, int32_t high, const char *meaning = "") {
  if (value < low || value > high)
    fail(INGOT_INVALID, "%s is %d; it must be from %d to %d%s", name, value, low, high, meaning);
}

void check_array(const char *name, const char *count_name, const void *array, int32_t count, int32_t most) {
  check_integer(count_name, count, 0, most);
  if (count && !array) fail(INGOT_INVALID, "%s is NULL, but %s is %d", name, count_name, count);
}

void check_number(const char *name, float value, float low, float high, const char *meaning) {
  if (!(value >= low && value <= high)) {
    fail(INGOT_INVALID, "%s is %g; it must be from %g to %g%s", name, static_cast<double>(value),
         static_cast<double>(low), static_cast<double>(high), meaning);
  }
}

void check_numbers(const IngotRequest &given, const RequestLimits &limits) {
  check_integer("max_tokens", given.max_tokens, 0, INT32_MAX);
  check_integer("min_tokens", given.min_tokens, 0, given.max_tokens, " (max_tokens)");
  check_integer("top_k", given.top_k, 0, INT32_MAX, "; 0 means all");
  check_integer("logprobs", given.logprobs, -1, most_logprobs, "; -1 means none");
  if (!std::isfinite(given.temperature) || given.temperature < 0) {
    fail(INGOT_INVALID, "temperature is %g; it must be a finite number from 0 (greedy) up",
         static_cast<double>(given.temperature));
  }
  if (!(given.top_p > 0 && given.top_p <= 1)) {
    fail(INGOT_INVALID, "top_p is %g; it must be above 0 and at most 1", static_cast<double>(given.top_p));
  }
  check_number("min_p", given.min_p, 0, 1, "; 0 means all");
  check_number("presence_penalty", given.presence_penalty, -2, 2, "; 0 means none");
  check_number("frequency_penalty", given.frequency_penalty, -2, 2, "; 0 means none");
  if (!std::isfinite(given.repetition_penalty) || given.repetition_penalty < 0) {
    fail(INGOT_INVALID, "repetition_penalty is %g; it must be a finite number above 0; 1 means none",
         static_cast<double>(given.repetition_penalty));
  }
  check_integer("no_repeat_ngram_size", given.no_repeat_ngram_size, 0, INT32_MAX, "; 0 means that n-grams may repeat");
  if (given.hidden && limits.hidden == 0)
    fail(INGOT_INVALID, "hidden: this engine does not give its hidden rows; build it with features=[hidden]");
  check_integer("n_prompt_top", given.n_prompt_top, 0, most_logprobs);
  check_array("stop_ids", "n_stop_ids", given.stop_ids, given.n_stop_ids, most_stop_ids);
  for (int32_t i = 0; i < given.n_stop_ids; ++i)
    check_integer("stop_ids", given.stop_ids[i], 0, limits.vocab - 1, ", the vocabulary");
}

void check_embeddings(const IngotRequest &given, const RequestLimits &limits) {
  if (limits.embedding == 0)
    fail(INGOT_INVALID, "embeddings: this engine reads token ids only; build it with features=[embeddings]");
  if (given.ids) fail(INGOT_INVALID, "embeddings and ids are both given; a prompt is one or the other");
  if (given.prompt_logprobs)
    fail(INGOT_INVALID, "prompt_logprobs is asked of embeddings, which are no tokens that could be probable");
}

void check_prompt(const IngotRequest &given, const RequestLimits &limits) {
  if (given.n_ids == 0) fail(INGOT_INVALID, "ids, the prompt, is empty; give at least one token");
  if (given.embeddings) check_embeddings(given, limits);
  if (given.n_ids < 0 || !(given.ids || given.embeddings))
    fail(INGOT_INVALID, "ids is %s and n_ids is %d", given.ids ? "given" : "NULL", given.n_ids);
  const int32_t room = limits.length() - (given.max_tokens > 0 ? 1 : 0);
  if (given.n_ids > room) {
    const bool cache = limits.cache_length < limits.max_length;
    fail(INGOT_INVALID, "the prompt has %d tokens; %s at most %d%s; %s", given.n_ids,
         cache ? "the cache holds prompts of" : "the engine takes", room,
         given.max_tokens > 0 ? " when it is to generate" : "",
         cache ? "open the engine with more cache_bytes" : "shorten it, or build the engine with a larger max_length");
  }
  for (int32_t i = 0; given.ids && i < given.n_ids; ++i) {
    if (given.ids[i] < 0 || given.ids[i] >= limits.vocab) {
      fail(INGOT_INVALID, "ids[%d] is %d; the vocabulary has 0 to %d", i, given.ids[i], limits.vocab - 1);
    }
  }
}

std::vector<std::string> read_stops(const IngotRequest &given, const RequestLimits &limits) {
  check_array("stops", "n_stops", given.stops, given.n_stops, most_stops);
  if (given.n_stops && !limits.has_text) {
    fail(INGOT_INVALID,
         "stops: this engine folder has no tokens.bin, so there is no text to look for stop strings in; use stop_ids");
  }
  std::vector<std::string> stops;
  for (int32_t i = 0; i < given.n_stops; ++i) {
    if (!given.stops[i]) fail(INGOT_INVALID, "stops[%d] is NULL", i);
    const size_t bytes = strnlen(given.stops[i], most_stop_bytes + 1);
    if (bytes == 0 || bytes > most_stop_bytes) {
      fail(INGOT_INVALID, "stops[%d] is %s; a stop string has from 1 to %zu bytes", i, bytes ? "longer" : "empty",
           most_stop_bytes);
    }
    stops.emplace_back(given.stops[i], bytes);
    if (!is_utf8(stops.back())) fail(INGOT_INVALID, "stops[%d] is not valid UTF-8, so no text can contain it", i);
  }
  return stops;
}

std::vector<TokenBias> read_bias(const IngotRequest &given, const RequestLimits &limits) {
  check_array("bias_ids", "n_bias", given.bias_ids, given.n_bias, limits.vocab);
  check_array("bias_values", "n_bias", given.bias_values, given.n_bias, limits.vocab);
  std::vector<TokenBias> bias;
  for (int32_t i = 0; i < given.n_bias; ++i) {
    const int32_t id = given.bias_ids[i];
    if (id < 0 || id >= limits.vocab)
      fail(INGOT_INVALID, "logit_bias: token %d is not in the vocabulary, 0 to %d", id, limits.vocab - 1);
    if (!std::isfinite(given.bias_values[i])) {
      fail(INGOT_INVALID, "logit_bias of token %d is %g; it must be finite; bad_words forbids a token", id,
           static_cast<double>(given.bias_values[i]));
    }
    bias.push_back({id, given.bias_values[i]});
  }
  return bias;
}

std::shared_ptr<const BadWords> read_bad_words(const IngotRequest &given, const RequestLimits &limits,
                                               BadWordsShelf &shelf) {
  check_array("bad_words", "n_bad_words", given.bad_words, given.n_bad_words, most_bad_words);
  check_array("bad_word_lengths", "n_bad_words", given.bad_word_lengths, given.n_bad_words, most_bad_words);
  size_t tokens = 0;
  for (int32_t i = 0; i < given.n_bad_words; ++i) {
    const int32_t length = given.bad_word_lengths[i];
    if (length < 1 || length > most_bad_word_tokens) {
      fail(INGOT_INVALID, "bad_words[%d] has %d tokens; a bad word has from 1 to %d", i, length, most_bad_word_tokens);
    }
    for (int32_t k = 0; k < length; ++k, ++tokens) {
      const int32_t id = given.bad_words[tokens];
      if (id < 0 || id >= limits.vocab)
        fail(INGOT_INVALID, "bad_words[%d] holds token %d; the vocabulary has 0 to %d", i, id, limits.vocab - 1);
    }
  }
  return shelf.get({given.bad_words, tokens}, {given.bad_word_lengths, static_cast<size_t>(given.n_bad_words)});
}

int32_t or_one(int32_t count) { return count == 0 ? 1 : count; }

void check_choices(const IngotRequest &given, const RequestLimits &limits) {
  check_integer("n", given.n, 0, limits.max_sequences, ", the sequences that this engine runs together; 0 means 1");
  check_integer("best_of", given.best_of, 0, limits.max_sequences,
                ", the sequences that this engine runs together; 0 means n");
  const int32_t n = or_one(given.n);
  if (given.best_of && given.best_of < n)
    fail(INGOT_INVALID, "best_of is %d, but n is %d; it must be at least n, or 0", given.best_of, n);
}

void check_beams(const IngotRequest &given, const RequestLimits &limits) {
  check_integer("beam_width", given.beam_width, 0, limits.max_sequences,
                ", the sequences that this engine runs together; 1 means no beam search");
  check_integer("early_stopping", given.early_stopping, 0, 2, "; 0: no, 1: yes, 2: never");
  if (!std::isfinite(given.length_penalty))
    fail(INGOT_INVALID, "length_penalty is %g; it must be finite", static_cast<double>(given.length_penalty));
  if (given.beam_width <= 1) return;
  const size_t ends = (given.ignore_eos ? 0 : limits.end_tokens) + static_cast<size_t>(given.n_stop_ids);
  if (beam_candidates(given.beam_width, ends) > limits.vocab) {
    fail(INGOT_INVALID, "beam_width is %d; with %zu end tokens it looks at %lld continuations, the vocabulary has %d",
         given.beam_width, ends, static_cast<long long>(beam_candidates(given.beam_width, ends)), limits.vocab);
  }
  const auto refuse = [&](const char *what, const char *cure) {
    fail(INGOT_INVALID, "beam_width is %d, but %s; %s", given.beam_width, what, cure);
  };
  if (or_one(given.n) > given.beam_width) {
    fail(INGOT_INVALID, "n is %d, but beam_width is %d; a beam search gives at most as many texts as it has beams",
         given.n, given.beam_width);
  }
  if (given.best_of) refuse("best_of is set", "a beam search is itself a choice of the best; set n alone");
  if (given.temperature != 0) refuse("temperature is not 0", "beam search draws nothing; set temperature to 0");
  if (given.n_stops) refuse("there are stop strings", "give stop_ids, or search for them in the result");
  if (given.logprobs > 0) refuse("logprobs is above 0", "beam search keeps those of chosen tokens only; set it to 0");
  if (given.max_tokens == 0) refuse("max_tokens is 0", "set it to what a text may have");
}

// Under guaranteed_no_evict all sequences of a request run to their ends together, which must fit when it is alone.
void check_pages(const Request &request, const RequestLimits &limits) {
  if (limits.policy != Policy::guaranteed_no_evict || request.sequences() == 1) return;
  const auto prompt = static_cast<int32_t>(request.prompt.size());
  const int64_t length = std::min<int64_t>(limits.length(), int64_t{prompt} + request.max_tokens);
  for (size_t g = 0; g < limits.groups.size(); ++g) {
    const int64_t pages =
        pages_of_forks(limits.groups[g], request.sequences(), prompt, static_cast<int32_t>(length), limits.lag);
    if (pages <= limits.groups[g].pages - 1) continue;
    fail(INGOT_INVALID,
         "%d sequences of up to %lld tokens need %lld pages of cache group %zu, it has %d, and policy "
         "guaranteed_no_evict evicts nobody; ask for fewer or shorter ones, open the engine with more cache_bytes, or "
         "with policy max_utilization",
         request.sequences(), static_cast<long long>(length), static_cast<long long>(pages), g,
         limits.groups[g].pages - 1);
  }
}

std::string read_salt(const IngotRequest &given) {
  if (!given.salt) return "";
  const size_t bytes = strnlen(given.salt, most_salt_bytes + 1);
  if (bytes > most_salt_bytes) fail(INGOT_INVALID, "salt is longer than %zu bytes; give a hash of it", most_salt_bytes);
  return {given.salt, bytes};
}

// A caller that was compiled before the last fields came has none of them.
IngotRequest widened(const IngotRequest &given) {
  constexpr size_t least = offsetof(IngotRequest, bias_ids);
  if (given.size < least) {
    fail(INGOT_INVALID, "the request says it has %u bytes, it must have at least %zu; set size = sizeof(IngotRequest)",
         given.size, least);
  }
  IngotRequest request{};
  std::memcpy(&request, &given, std::min<size_t>(given.size, sizeof request));
  return request;
}

}  // namespace

Request read_request(const IngotRequest &asked, const RequestLimits &limits, BadWordsShelf &shelf) {
  const IngotRequest given = widened(asked);
  check_numbers(given, limits);
  check_prompt(given, limits);
  check_choices(given, limits);
  check_beams(given, limits);
  Request request;
  request.stops = read_stops(given, limits);
  if (given.n_bias != 0 || given.n_bad_words != 0)
    request.lists =
        std::make_shared<const TokenLists>(TokenLists{read_bias(given, limits), read_bad_words(given, limits, shelf)});
  if (given.embeddings) {
    request.prompt.assign(static_cast<size_t>(given.n_ids), embedded_token);
    request.embeddings.assign(
        given.embeddings, given.embeddings + static_cast<size_t>(given.n_ids) * static_cast<size_t>(limits.embedding));
  } else {
    request.prompt.assign(given.ids, given.ids + given.n_ids);
  }
  request.max_tokens = given.max_tokens;
  request.min_tokens = given.min_tokens;
  request.temperature = given.temperature;
  request.top_p = given.top_p;
  request.top_k = given.top_k;
  request.min_p = given.min_p;
  request.repetition_penalty = given.repetition_penalty == 0 ? 1 : given.repetition_penalty;
  request.presence_penalty = given.presence_penalty;
  request.frequency_penalty = given.frequency_penalty;
  request.no_repeat_ngram_size = given.no_repeat_ngram_size;
  request.seed = given.seed;
  request.logprobs = given.logprobs;
  request.ignore_eos = given.ignore_eos != 0;
  if (given.n_stop_ids) request.stop_ids.assign(given.stop_ids, given.stop_ids + given.n_stop_ids);
  request.logits = given.logits;
  request.hidden = given.hidden;
  request.prompt_logprobs = given.prompt_logprobs;
  request.prompt_top = given.prompt_logprobs ? given.n_prompt_top : 0;
  request.prompt_top_ids = given.prompt_top_ids;
  request.prompt_top_logprobs = given.prompt_top_logprobs;
  request.priority = given.priority;
  request.n = or_one(given.n);
  request.beam_width = or_one(given.beam_width);
  request.best_of = request.beam_width > 1 ? 1 : std::max(request.n, given.best_of);
  request.length_penalty = given.length_penalty;
  request.early_stopping = static_cast<EarlyStopping>(given.early_stopping);
  request.reuse = given.no_reuse == 0;
  request.salt = read_salt(given);
  check_pages(request, limits);
  return request;
}

SamplingChange Request::sampling(int32_t prompt_tokens) const {
  SamplingChange sampling;
  sampling.seed = seed;
  sampling.top_k = top_k;
  sampling.temperature = temperature;
  sampling.top_p = top_p;
  sampling.logprobs = best_of > n ? std::max(0, logprobs) : logprobs;  // best_of ranks by them
  sampling.no_repeat_ngram_size = no_repeat_ngram_size;
  sampling.min_p = min_p;
  sampling.repetition_penalty = repetition_penalty;
  sampling.presence_penalty = presence_penalty;
  sampling.frequency_penalty = frequency_penalty;
  sampling.min_tokens = min_tokens;
  sampling.prompt = prompt_tokens;
  return sampling;
}

}  // namespace ingot
