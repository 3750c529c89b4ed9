// Element types by number, by word and by size.
#pragma once
#include <cstdint>
#include <string_view>

namespace ingot {

// "f32", "bf16", …; "?" for a number that is no type.
const char *dtype_name(int32_t dtype);

// The type that a word names; 0: none.
int32_t dtype_from_name(std::string_view name);

// Bits of one element; 0 for a number that is no type.
int32_t dtype_bits(int32_t dtype);

// Bytes that `count` contiguous elements take; 4-bit ones lie two in a byte.
int64_t bytes_of_elements(int32_t dtype, int64_t count);

}  // namespace ingot
