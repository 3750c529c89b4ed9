#include "runtime/request.h"

#include <cmath>
#include <cstring>

#include "error.h"
#include "runtime/text.h"

namespace ingot {
namespace {

constexpr int32_t most_stops = 64, most_stop_ids = 1024, most_logprobs = 64;
constexpr size_t most_stop_bytes = 1024;

void check_integer(const char *name, int32_t value, int32_t low, int32_t high, const char *meaning = "") {
  if (value < low || value > high)
    fail(INGOT_INVALID, "%s is %d; it must be from %d to %d%s", name, value, low, high, meaning);
}

void check_array(const char *name, const char *count_name, const void *array, int32_t count, int32_t most) {
  check_integer(count_name, count, 0, most);
  if (count && !array) fail(INGOT_INVALID, "%s is NULL, but %s is %d", name, count_name, count);
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
  check_array("stop_ids", "n_stop_ids", given.stop_ids, given.n_stop_ids, most_stop_ids);
  for (int32_t i = 0; i < given.n_stop_ids; ++i)
    check_integer("stop_ids", given.stop_ids[i], 0, limits.vocab - 1, ", the vocabulary");
}

void check_prompt(const IngotRequest &given, const RequestLimits &limits) {
  if (given.n_ids == 0) fail(INGOT_INVALID, "ids, the prompt, is empty; give at least one token");
  if (given.n_ids < 0 || !given.ids)
    fail(INGOT_INVALID, "ids is %s and n_ids is %d", given.ids ? "given" : "NULL", given.n_ids);
  const int32_t room = limits.length() - (given.max_tokens > 0 ? 1 : 0);
  if (given.n_ids > room) {
    const bool cache = limits.cache_length < limits.max_length;
    fail(INGOT_INVALID, "the prompt has %d tokens; %s at most %d%s; %s", given.n_ids,
         cache ? "the cache holds prompts of" : "the engine takes", room,
         given.max_tokens > 0 ? " when it is to generate" : "",
         cache ? "open the engine with more cache_bytes" : "shorten it, or build the engine with a larger max_length");
  }
  for (int32_t i = 0; i < given.n_ids; ++i) {
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

}  // namespace

Request read_request(const IngotRequest &given, const RequestLimits &limits) {
  if (given.size < sizeof(IngotRequest)) {
    fail(INGOT_INVALID, "the request says it has %u bytes, this Ingot's has %zu; set size = sizeof(IngotRequest)",
         given.size, sizeof(IngotRequest));
  }
  check_numbers(given, limits);
  check_prompt(given, limits);
  Request request;
  request.stops = read_stops(given, limits);
  request.prompt.assign(given.ids, given.ids + given.n_ids);
  request.max_tokens = given.max_tokens;
  request.min_tokens = given.min_tokens;
  request.temperature = given.temperature;
  request.top_p = given.top_p;
  request.top_k = given.top_k;
  request.seed = given.seed;
  request.logprobs = given.logprobs;
  request.ignore_eos = given.ignore_eos != 0;
  if (given.n_stop_ids) request.stop_ids.assign(given.stop_ids, given.stop_ids + given.n_stop_ids);
  request.logits = given.logits;
  request.priority = given.priority;
  return request;
}

}  // namespace ingot
