// A text cut at every place of one character.
#pragma once
#include <string_view>
#include <vector>

namespace ingot {

// The parts between the marks; of "": nothing.
inline std::vector<std::string_view> split(std::string_view text, char mark) {
  std::vector<std::string_view> parts;
  if (text.empty()) return parts;
  while (true) {
    const size_t end = text.find(mark);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace ingot
