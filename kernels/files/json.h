// JSON as RFC 8259 has it, read strictly: no duplicate keys, no trailing text, bounded depth and size, valid UTF-8
// escapes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ingot {

struct JsonLimits {
  size_t bytes = size_t{256} << 20;
  int depth = 64;
};

class Json {
 public:
  enum class Kind { null, boolean, integer, number, string, array, object };
  struct Member;  // {name, value}

  // Throws Error(INGOT_FOLDER) "offset 17: …" when `text` is not one JSON value.
  static Json parse(std::string_view text, const JsonLimits &limits = {});

  Json();
  Json(const Json &);
  Json(Json &&) noexcept;
  Json &operator=(Json);
  ~Json();

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::null; }
  // Each throws Error(INGOT_FOLDER) that says what was expected and found. as_double takes integers too.
  bool as_bool() const;
  int64_t as_int() const;
  double as_double() const;
  const std::string &as_string() const;
  const std::vector<Json> &as_array() const;
  const std::vector<Member> &as_object() const;  // sorted by name

  const Json *find(std::string_view name) const;  // NULL if the object has no such member
  const Json &at(std::string_view name) const;    // throws if the object has no such member
  const char *kind_name() const;

 private:
  friend class JsonParser;
  // In the order of Kind. A list of many small values takes 40 bytes for each.
  std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<Json>, std::vector<Member>> value_;
};

struct Json::Member {
  std::string name;
  Json value;
};

}  // namespace ingot
