#include "files/json_writer.h"

#include <cstdio>

namespace ingot {

std::string json_quoted(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      json += code;
    } else {
      json += c;
    }
  }
  return json + '"';
}

JsonWriter &JsonWriter::raw(std::string_view name, const std::string &json) {
  if (text_.size() > 1) text_ += ", ";
  if (!name.empty()) text_ += json_quoted(name) + ": ";
  text_ += json;
  return *this;
}

JsonWriter &JsonWriter::real(std::string_view name, double value) {
  char text[32];
  snprintf(text, sizeof text, "%.9g", value);
  return raw(name, text);
}

}  // namespace ingot
