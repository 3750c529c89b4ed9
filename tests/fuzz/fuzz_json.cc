// JSON: what is accepted can be walked through, and every member is found by its name.
#include <cstdint>
#include <string_view>

#include "files/json.h"
#include "refusal.h"

using namespace ingot;

namespace {

void walk(const Json &value) {
  if (value.kind() == Json::Kind::array) {
    for (const Json &item : value.as_array()) walk(item);
  } else if (value.kind() == Json::Kind::object) {
    for (const Json::Member &member : value.as_object()) {
      require(value.find(member.name) == &member.value);
      walk(member.value);
    }
  } else {
    accepts([&] { value.as_int(); });
    accepts([&] { value.as_double(); });
    accepts([&] { value.as_string(); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  accepts([&] {
    const Json value = Json::parse({reinterpret_cast<const char *>(data), size});
    walk(value);
    const Json copy = value;
    walk(copy);
  });
  return 0;
}
