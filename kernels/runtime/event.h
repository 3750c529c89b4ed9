// What happened to a request, and the memory that the C struct points into.
#pragma once
#include <string>
#include <vector>

#include "ingot.h"

namespace ingot {

struct Event {
  IngotEvent fields{};
  std::string text;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;

  // The C struct; its pointers are valid as long as this object stays where it is.
  const IngotEvent &get() {
    fields.size = sizeof fields;
    fields.text = text.c_str();
    fields.text_bytes = static_cast<int32_t>(text.size());
    fields.n_top = static_cast<int32_t>(top_ids.size());
    fields.top_ids = top_ids.data();
    fields.top_logprobs = top_logprobs.data();
    return fields;
  }
};

}  // namespace ingot
