#include "ops/dtype.h"

#include "ingot_op.h"

namespace ingot {
namespace {

struct Dtype {
  int32_t number;
  const char *name;
  int32_t bits;
};

constexpr Dtype dtypes[] = {
    {INGOT_F32, "f32", 32},      {INGOT_U8, "u8", 8},         {INGOT_I8, "i8", 8},    {INGOT_I32, "i32", 32},
    {INGOT_I64, "i64", 64},      {INGOT_BOOL, "bool", 8},     {INGOT_F16, "f16", 16}, {INGOT_BF16, "bf16", 16},
    {INGOT_F8E4M3, "f8e4m3", 8}, {INGOT_F8E5M2, "f8e5m2", 8}, {INGOT_U4, "u4", 4},    {INGOT_I4, "i4", 4},
};

const Dtype *find(int32_t number) {
  for (const Dtype &dtype : dtypes) {
    if (dtype.number == number) return &dtype;
  }
  return nullptr;
}

}  // namespace

const char *dtype_name(int32_t dtype) {
  const Dtype *found = find(dtype);
  return found ? found->name : "?";
}

int32_t dtype_from_name(std::string_view name) {
  for (const Dtype &dtype : dtypes) {
    if (dtype.name == name) return dtype.number;
  }
  return 0;
}

int32_t dtype_bits(int32_t dtype) {
  const Dtype *found = find(dtype);
  return found ? found->bits : 0;
}

int64_t bytes_of_elements(int32_t dtype, int64_t count) { return (count * dtype_bits(dtype) + 7) / 8; }

}  // namespace ingot
