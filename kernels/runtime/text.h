// The text of a request as it becomes certain: whole characters, nothing that may yet turn out to be part of a stop
// string.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace ingot {

class TextStream {
 public:
  TextStream() = default;
  explicit TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Takes a token's bytes; returns what became certain, valid UTF-8. When a stop string appears, and `may_stop`, the
  // text ends before it and stopped() is true.
  std::string add(std::string_view bytes, bool may_stop);
  bool stopped() const { return stopped_; }
  // What was held back. Bytes that do not make a character become U+FFFD.
  std::string finish();

 private:
  size_t possible_stop() const;
  std::string take(size_t bytes, bool all);

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

// Moves whole characters from the front of `bytes` to the result. Each maximal part of an ill-formed sequence becomes
// one U+FFFD (Unicode 15, section 3.9, table 3-8); an unfinished character at the end stays, unless `all`.
std::string take_characters(std::string &bytes, bool all);

bool is_utf8(std::string_view text);

}  // namespace ingot
