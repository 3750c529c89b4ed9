// Text as it becomes certain: characters over token borders, stop strings, bytes that are no text.
#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <random>
#include <string>

#include "runtime/text.h"

using namespace ingot;

namespace {

// Only whole characters come out.
void test_characters_are_whole() {
  TextStream text;
  const std::string euro = "€";
  assert(text.add(euro.substr(0, 1), true).empty());
  assert(text.add(euro.substr(1, 1), true).empty());
  assert(text.add(euro.substr(2, 1) + "a", true) == euro + "a");
  assert(text.add("\xF0\x9F", true).empty());
  assert(text.finish() == "\xEF\xBF\xBD");
}

// As bytes.decode("utf-8", "replace") in Python does it.
void test_bytes_that_are_no_text() {
  const std::string mark = "\xEF\xBF\xBD";
  for (const auto &[bytes, want] : {std::pair<std::string, std::string>{"\xFF"
                                                                        "a",
                                                                        mark + "a"},
                                    {"\xE2\x82"
                                     "a",
                                     mark + "a"},
                                    {"\xC0\xAF", mark + mark},
                                    {"\xED\xA0\x80", mark + mark + mark},
                                    {"\xF4\x90\x80\x80", mark + mark + mark + mark},
                                    {"\xF0\x9F\x98", mark},
                                    {"\xE2\xE2\x82\xAC", mark + "€"}}) {
    std::string held = bytes;
    assert(take_characters(held, true) == want && held.empty());
  }
  assert(is_utf8("a€😀") && !is_utf8("\xE2\x82") && !is_utf8("\xC0\xAF"));
}

// Text ends before the first stop string, wherever tokens are cut, and nothing of it was said before.
void test_stops_over_token_borders() {
  std::mt19937 random(1);
  const std::string whole = "one, two; thr€e\n\nEND and more €€ ab aab aaab";
  for (const std::string stop : {"\n\nEND", "aaab", "€€", "o", "more €", "; thr", "not there"}) {
    for (int round = 0; round < 200; ++round) {
      TextStream text({stop, "never appears"});
      std::string said;
      size_t at = 0;
      while (at < whole.size() && !text.stopped()) {
        const size_t length = 1 + random() % 5;
        said += text.add(whole.substr(at, length), true);
        assert(is_utf8(said));
        at += length;
      }
      said += text.finish();
      assert(said == whole.substr(0, whole.find(stop)));
      assert(text.stopped() == (whole.find(stop) != std::string::npos));
    }
  }
}

// Stop strings that may not stop yet are text; one that begins there and ends later stops.
void test_stops_that_may_not_stop_yet() {
  TextStream text({"stop"});
  std::string said = text.add("a stop b st", false);
  said += text.add("op c", true);
  assert(said == "a stop b " && text.stopped() && text.finish().empty());
}

}  // namespace

int main() {
  test_characters_are_whole();
  test_bytes_that_are_no_text();
  test_stops_over_token_borders();
  test_stops_that_may_not_stop_yet();
  std::puts("text: ok");
}
