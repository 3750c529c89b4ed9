#include "files/json.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "error.h"
#include "ingot.h"

namespace ingot {

class JsonParser {
 public:
  JsonParser(std::string_view text, const JsonLimits &limits) : text_(text), limits_(limits) {}

  Json document() {
    if (text_.size() > limits_.bytes) {
      fail(INGOT_FOLDER, "JSON of %zu bytes is larger than the %zu that are accepted", text_.size(), limits_.bytes);
    }
    Json value = any(0);
    blanks();
    if (at_ != text_.size()) refuse("text after the end of the value");
    return value;
  }

 private:
  [[noreturn]] void refuse(const char *what) const { fail(INGOT_FOLDER, "offset %zu: %s", at_, what); }
  bool more() const { return at_ < text_.size(); }
  char peek() const { return more() ? text_[at_] : '\0'; }

  void blanks() {
    while (more() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }

  bool take(char c) {
    blanks();
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) refuse("neither a value nor true, false or null");
    at_ += expected.size();
  }

  Json any(int depth) {
    if (depth > limits_.depth) refuse("nested more deeply than is accepted");
    blanks();
    if (!more()) refuse("the text ends where a value should stand");
    Json value;
    switch (peek()) {
      case '{':
        object(value, depth);
        break;
      case '[':
        array(value, depth);
        break;
      case '"':
        value.value_ = string();
        break;
      case 't':
      case 'f':
        value.value_ = peek() == 't';
        word(peek() == 't' ? "true" : "false");
        break;
      case 'n':
        word("null");
        break;
      default:
        number(value);
    }
    return value;
  }

  void object(Json &value, int depth) {
    auto &members = value.value_.emplace<std::vector<Json::Member>>();
    ++at_;
    if (take('}')) return;
    do {
      blanks();
      if (peek() != '"') refuse("a name in quotes should stand here");
      std::string name = string();
      if (!take(':')) refuse("':' should stand after a name");
      members.push_back({std::move(name), any(depth + 1)});
    } while (take(','));
    if (!take('}')) refuse("',' or '}' should stand here");
    std::sort(members.begin(), members.end(), [](const auto &a, const auto &b) { return a.name < b.name; });
    for (size_t i = 1; i < members.size(); ++i) {
      if (members[i].name == members[i - 1].name) {
        fail(INGOT_FOLDER, "offset %zu: the object ending here names '%.200s' twice", at_, members[i].name.c_str());
      }
    }
  }

  void array(Json &value, int depth) {
    auto &items = value.value_.emplace<std::vector<Json>>();
    ++at_;
    if (take(']')) return;
    do items.push_back(any(depth + 1));
    while (take(','));
    if (!take(']')) refuse("',' or ']' should stand here");
  }

  std::string string() {
    std::string out;
    ++at_;
    while (true) {
      if (!more()) refuse("the text ends inside a string");
      const unsigned char c = text_[at_];
      if (c < 0x20) refuse("a control byte inside a string");
      if (c >= 0x80) {
        character(out);
        continue;
      }
      ++at_;
      if (c == '"') return out;
      if (c == '\\')
        escape(out);
      else
        out += static_cast<char>(c);
    }
  }

  // Copies one UTF-8 character of two to four bytes.
  void character(std::string &out) {
    const unsigned char first = text_[at_];
    const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || length > text_.size() - at_) refuse("bytes that are not UTF-8");
    uint32_t code = first & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; ++i) {
      const unsigned char c = text_[at_ + i];
      if ((c & 0xC0) != 0x80) refuse("bytes that are not UTF-8");
      code = code << 6 | (c & 0x3F);
    }
    const uint32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) refuse("bytes that are not UTF-8");
    out.append(text_, at_, length);
    at_ += length;
  }

  void escape(std::string &out) {
    if (!more()) refuse("the text ends inside a string");
    static constexpr std::string_view from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
    const char c = text_[at_++];
    if (const size_t i = from.find(c); i != from.npos) {
      out += to[i];
      return;
    }
    if (c != 'u') refuse("an unknown escape");
    uint32_t code = hex();
    if (code >= 0xDC00 && code < 0xE000) refuse("half a surrogate pair");
    if (code >= 0xD800 && code < 0xDC00) {
      if (text_.substr(at_, 2) != "\\u") refuse("half a surrogate pair");
      at_ += 2;
      const uint32_t low = hex();
      if (low < 0xDC00 || low >= 0xE000) refuse("half a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, code);
  }

  uint32_t hex() {
    uint32_t code = 0;
    const char *begin = text_.data() + at_;
    if (text_.size() - at_ < 4 || std::from_chars(begin, begin + 4, code, 16).ptr != begin + 4) {
      refuse("four hexadecimal digits should stand here");
    }
    at_ += 4;
    return code;
  }

  static void append_utf8(std::string &out, uint32_t code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
      return;
    }
    const int rest = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static constexpr unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    out += static_cast<char>(lead[rest] | code >> (6 * rest));
    for (int i = rest - 1; i >= 0; --i) out += static_cast<char>(0x80 | (code >> (6 * i) & 0x3F));
  }

  size_t digits() {
    const size_t start = at_;
    while (more() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ - start;
  }

  void number(Json &value) {
    const size_t start = at_;
    if (peek() == '-') ++at_;
    const bool zero = peek() == '0';
    const size_t whole = digits();
    if (whole == 0) refuse("a value should stand here");
    if (zero && whole > 1) refuse("a number with a leading zero");
    bool integer = true;
    if (peek() == '.') {
      integer = false;
      ++at_;
      if (digits() == 0) refuse("digits should stand after the point");
    }
    if (peek() == 'e' || peek() == 'E') {
      integer = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (digits() == 0) refuse("digits should stand in the exponent");
    }
    const char *begin = text_.data() + start, *end = text_.data() + at_;
    if (int64_t whole_number; integer && std::from_chars(begin, end, whole_number).ec == std::errc{}) {
      value.value_ = whole_number;
      return;
    }
    double number;
    if (std::from_chars(begin, end, number).ec != std::errc{}) refuse("a number out of range");
    value.value_ = number;
  }

  std::string_view text_;
  const JsonLimits &limits_;
  size_t at_ = 0;
};

Json Json::parse(std::string_view text, const JsonLimits &limits) { return JsonParser(text, limits).document(); }

static_assert(sizeof(Json) <= 40, "a small file becomes at most some twenty times as large");

Json::Json() = default;
Json::Json(const Json &) = default;
Json::Json(Json &&) noexcept = default;
Json::~Json() = default;

Json &Json::operator=(Json other) {
  value_.swap(other.value_);
  return *this;
}

const char *Json::kind_name() const {
  static constexpr const char *names[] = {"null",     "true or false", "an integer", "a number",
                                          "a string", "a list",        "an object"};
  return names[value_.index()];
}

bool Json::as_bool() const {
  if (kind() != Kind::boolean) fail(INGOT_FOLDER, "true or false was expected, found %s", kind_name());
  return std::get<bool>(value_);
}

int64_t Json::as_int() const {
  if (kind() != Kind::integer) fail(INGOT_FOLDER, "an integer was expected, found %s", kind_name());
  return std::get<int64_t>(value_);
}

double Json::as_double() const {
  if (kind() == Kind::integer) return static_cast<double>(std::get<int64_t>(value_));
  if (kind() != Kind::number) fail(INGOT_FOLDER, "a number was expected, found %s", kind_name());
  return std::get<double>(value_);
}

const std::string &Json::as_string() const {
  if (kind() != Kind::string) fail(INGOT_FOLDER, "a string was expected, found %s", kind_name());
  return std::get<std::string>(value_);
}

const std::vector<Json> &Json::as_array() const {
  if (kind() != Kind::array) fail(INGOT_FOLDER, "a list was expected, found %s", kind_name());
  return std::get<std::vector<Json>>(value_);
}

const std::vector<Json::Member> &Json::as_object() const {
  if (kind() != Kind::object) fail(INGOT_FOLDER, "an object was expected, found %s", kind_name());
  return std::get<std::vector<Member>>(value_);
}

const Json *Json::find(std::string_view name) const {
  const auto &members = as_object();
  const auto found =
      std::lower_bound(members.begin(), members.end(), name,
                       [](const Member &member, std::string_view wanted) { return member.name < wanted; });
  return found != members.end() && found->name == name ? &found->value : nullptr;
}

const Json &Json::at(std::string_view name) const {
  const Json *value = find(name);
  if (!value) fail(INGOT_FOLDER, "the member '%.*s' is missing", static_cast<int>(name.size()), name.data());
  return *value;
}

}  // namespace ingot
