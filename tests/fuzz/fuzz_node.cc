// One line of an op, as ingot_run_op takes it from anybody: read, and its shapes worked out for inputs of given shapes.
//
// The input is lines: the op, then one of each input: a type and its dimensions as plan.txt writes them, and where the
// input must be known its integers ("f32 2,3", "i64 2 4,-1", "- -").
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "engines/plan_line.h"
#include "ops/binding.h"
#include "ops/node.h"
#include "ops/table.h"
#include "refusal.h"

using namespace ingot;

namespace {

// Its integers, if it has any, are kept in `memory`.
IngotTensor tensor_of(std::string_view text, std::vector<int64_t> &memory) {
  static const std::string path = "input";
  const PlanLine line(text, path, 1);
  IngotTensor tensor{};
  if (line.word(0) == "-") return tensor;
  tensor.dtype = line.dtype(line.word(0));
  for (const LinearForm &dim : line.dims(line.word(1))) {
    if (dim.constant < 0) line.refuse("a negative size");
    tensor.shape[tensor.rank++] = dim.constant;
  }
  set_strides(tensor);
  if (line.count() < 3) return tensor;
  memory = line.integers(line.word(2));
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) {
    if (__builtin_mul_overflow(count, tensor.shape[i], &count)) line.refuse("too large");
  }
  if (count != static_cast<int64_t>(memory.size())) line.refuse("not so many integers");
  if (tensor.dtype == INGOT_I32) {
    const std::vector<int32_t> narrow(memory.begin(), memory.end());
    if (count) std::memcpy(memory.data(), narrow.data(), narrow.size() * sizeof narrow[0]);
  } else if (tensor.dtype != INGOT_I64) {
    line.refuse("not integers");
  }
  tensor.data = memory.data();
  return tensor;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const OpTable table;
  const std::vector<std::string_view> lines = split({reinterpret_cast<const char *>(data), size}, '\n');
  if (lines.empty() || lines.size() > 64) return 0;
  accepts([&] {
    const IngotNode node = parse_node(lines[0], table);
    std::vector<IngotTensor> in, out(node.out_names.size());
    std::vector<std::vector<int64_t>> integers(lines.size());
    for (size_t i = 1; i < lines.size(); ++i) in.push_back(tensor_of(lines[i], integers[i]));
    if (in.size() != node.in_names.size()) return;
    for (size_t i = 0; i < in.size(); ++i) {
      if (node.in_names[i] == "-") in[i] = {};
    }
    std::vector<int64_t> words;
    infer(node, nullptr, in, out, &words);
    for (const IngotTensor &tensor : out) {
      require(tensor.rank >= 0 && tensor.rank <= INGOT_MAX_RANK);
      for (int32_t i = 0; i < tensor.rank; ++i) require(tensor.shape[i] >= 0);
    }
  });
  return 0;
}
