#include "single_op.h"

#include <algorithm>

#include "error.h"
#include "ops/binding.h"
#include "ops/dtype.h"

namespace ingot {

OpTable table_with(const char *library) {
  OpTable table;
  if (library) table.add_library(library);
  return table;
}

IngotTensor tensor_of(const IngotArray &array, bool present) {
  IngotTensor tensor{};
  if (!present) return tensor;
  if (array.rank < 0 || array.rank > INGOT_MAX_RANK || dtype_bits(array.dtype) == 0) {
    fail(INGOT_INVALID, "an array of rank %d and type %d was given; ops take ranks to %d and the types of ingot_op.h",
         array.rank, array.dtype, INGOT_MAX_RANK);
  }
  tensor.data = array.data;
  tensor.dtype = array.dtype;
  tensor.rank = array.rank;
  std::copy_n(array.shape, array.rank, tensor.shape);
  set_strides(tensor);
  return tensor;
}

SingleOp::SingleOp(const char *line, const char *library, const IngotArray *inputs, int32_t n_in, int32_t n_out)
    : table(table_with(library)), node(parse_node(line, table)) {
  if (n_in < 0 || static_cast<size_t>(n_in) < node.in_names.size() ||
      static_cast<size_t>(n_out) != node.out_names.size()) {
    fail(INGOT_INVALID, "the line names %zu inputs and %zu outputs, %d and %d arrays are given", node.in_names.size(),
         node.out_names.size(), n_in, n_out);
  }
  for (size_t i = 0; i < node.in_names.size(); ++i) in.push_back(tensor_of(inputs[i], node.in_names[i] != "-"));
  out.resize(node.out_names.size());
}

std::vector<IngotTensor> SingleOp::outputs_of(const IngotArray *arrays, int32_t count) const {
  std::vector<IngotTensor> outputs;
  for (int32_t i = 0; i < count; ++i)
    outputs.push_back(tensor_of(arrays[i], node.out_names[static_cast<size_t>(i)] != "-"));
  return outputs;
}

void SingleOp::check_outputs(std::span<const IngotTensor> given) const {
  for (size_t i = 0; i < given.size(); ++i) {
    const IngotTensor &wanted = out[i], &found = given[i];
    if (wanted.dtype == found.dtype && wanted.rank == found.rank &&
        std::equal(wanted.shape, wanted.shape + wanted.rank, found.shape)) {
      continue;
    }
    fail(INGOT_INVALID, "%s gives output %zu as %s [%s], an array of %s [%s] is there for it", node.op->name, i,
         dtype_name(wanted.dtype), dims_text(wanted).c_str(), dtype_name(found.dtype), dims_text(found).c_str());
  }
}

void check_status(int status, const HostState &state, int kind) {
  if (status) fail(kind, "%s", state.error.empty() ? "the kernel failed and said nothing" : state.error.c_str());
}

}  // namespace ingot
