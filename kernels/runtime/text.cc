#include "runtime/text.h"

#include <algorithm>
#include <cstdint>

namespace ingot {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";

struct Character {
  size_t bytes;     // of the character, or of the maximal ill-formed part
  bool whole;       // a well-formed character
  bool unfinished;  // more bytes could make it one
};

// The character that `text`, which is not empty, begins with (Unicode 15, table 3-7).
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {1, false, false};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint8_t low = 0x80, high = 0xBF;  // of the second byte
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {i, false, true};
    if (byte(i) < low || byte(i) > high) return {i, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true, false};
}

}  // namespace

std::string take_characters(std::string &bytes, bool all) {
  std::string text;
  size_t at = 0;
  while (at < bytes.size()) {
    const Character character = first_character(std::string_view(bytes).substr(at));
    if (character.unfinished && !all) break;
    if (character.whole)
      text.append(bytes, at, character.bytes);
    else
      text += replacement;
    at += character.bytes;
  }
  bytes.erase(0, at);
  return text;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (!character.whole) return false;
    text.remove_prefix(character.bytes);
  }
  return true;
}

std::string TextStream::add(std::string_view bytes, bool may_stop) {
  if (stopped_) return "";
  held_ += bytes;
  size_t found = std::string::npos;
  for (const std::string &stop : stops_) {
    if (may_stop) found = std::min(found, held_.find(stop));
  }
  if (found == std::string::npos) return take(held_.size() - possible_stop(), false);
  stopped_ = true;
  held_.resize(found);
  return take(found, true);
}

std::string TextStream::finish() { return take(held_.size(), true); }

// Whole characters of the first `bytes` bytes; what is behind stays held.
std::string TextStream::take(size_t bytes, bool all) {
  std::string front = held_.substr(0, bytes);
  const std::string text = take_characters(front, all);
  held_ = front + held_.substr(bytes);
  return text;
}

// The length of the longest end of the held bytes that is the beginning of a stop string.
size_t TextStream::possible_stop() const {
  size_t longest = 0;
  for (const std::string &stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > longest; --length) {
      if (std::string_view(held_).substr(held_.size() - length) == std::string_view(stop).substr(0, length))
        longest = length;
    }
  }
  return longest;
}

}  // namespace ingot
