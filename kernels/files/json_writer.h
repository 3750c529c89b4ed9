// JSON being written, object by object.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace ingot {

std::string json_quoted(std::string_view text);

// An object ('{') or an array ('['), whose members have no names.
class JsonWriter {
 public:
  explicit JsonWriter(char open) : text_(1, open), close_(open == '{' ? '}' : ']') {}

  JsonWriter &raw(std::string_view name, const std::string &json);
  JsonWriter &string(std::string_view name, std::string_view value) { return raw(name, json_quoted(value)); }
  JsonWriter &number(std::string_view name, int64_t value) { return raw(name, std::to_string(value)); }
  JsonWriter &real(std::string_view name, double value);  // finite
  JsonWriter &boolean(std::string_view name, bool value) { return raw(name, value ? "true" : "false"); }
  std::string json() const { return text_ + close_; }

 private:
  std::string text_;
  char close_;
};

}  // namespace ingot
