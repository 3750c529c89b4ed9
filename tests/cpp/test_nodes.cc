// One use of an op: how its line is read, how shapes in words bind, which kernel is chosen, what is refused.
#include <cmath>
#include <vector>

#include "ingot.h"
#include "ops/binding.h"
#include "ops/host.h"
#include "ops/kernel_choice.h"
#include "ops/numbers.h"
#include "small_folder.h"

using namespace ingot;

namespace {

int run_nothing(void *, const IngotCall *, int32_t, IngotCtx *) { return 0; }

int supports_few(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  IngotTensor x{};
  ctx->host->input(node, 0, &x);
  if (x.shape[0] <= 4) return 1;
  snprintf(why, n, "x has more than 4 rows");
  return 0;
}

constexpr IngotArg in[] = {{"x", "T D", "X:f32|bf16", INGOT_ACTIVATION, 0, 0, -1},
                           {"weight", "F D", "X", INGOT_WEIGHT, 0, 0, -1},
                           {"bias", "F", "f32", INGOT_WEIGHT, 1, 0, -1}};
constexpr IngotArg out[] = {{"y", "T (F+2*rest)/2", "=dtype", INGOT_ACTIVATION, 0, 0, -1},
                            {"z", "D 7", "X", INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotAttr attributes[] = {{"rest", "int", nullptr},  {"dtype", "dtype", "f16"},  {"name", "string", ""},
                                    {"ratio", "float", "0.5"}, {"list", "ints", "1,2,-3"}, {"parts", "floats", ""}};
constexpr IngotKernel kernels[] = {
    {"avx512", INGOT_CPU, 0, 0, 0, supports_few, {}, {}, {}, {}, {}, run_nothing, {}},
    {"avx2", INGOT_CPU, 0, 0, 0, {}, {}, {}, {}, {}, {}, run_nothing, {}},
    {"xqa", INGOT_CUDA, 90, 0, 0, {}, {}, {}, {}, {}, {}, run_nothing, {}},
    {"naive", INGOT_CPU, 0, 0, INGOT_REFERENCE, {}, {}, {}, {}, {}, {}, run_nothing, {}}};
constexpr IngotOp row = {sizeof(IngotOp), 1, "test", "Op", "", in, out, attributes, 3, 2, 6, nullptr, kernels, 4};

IngotNode node_of(std::string_view line) {
  static OpTable table;
  return parse_node(line, table);
}

// A node of `row`, as parse_node would make it.
IngotNode test_node(int64_t rest) {
  IngotNode node;
  node.op = &row;
  node.in_names = {"x", "w", "-"};
  node.out_names = {"y", "z"};
  for (const IngotAttr &attribute : attributes) node.attributes.emplace_back().row = &attribute;
  node.attributes[0].integer = rest;
  node.attributes[1].integer = INGOT_BF16;
  return node;
}

IngotTensor tensor(int32_t dtype, std::vector<int64_t> shape) {
  IngotTensor made{};
  made.dtype = dtype;
  for (const int64_t size : shape) made.shape[made.rank++] = size;
  return made;
}

void a_line_is_read() {
  const IngotNode node = node_of("op n3 ingot::ScaledLinear@1 in=x,-,w,s out=y dtype=d:bf16");
  assert(node.name == "n3" && node.op->name == std::string("ScaledLinear"));
  assert(node.in_names.size() == 4 && node.in_names[1] == "-" && node.out_names[0] == "y");
  assert(node.attribute("dtype")->integer == INGOT_BF16 && !node.attribute("other"));
  const IngotNode norm = node_of("op n ingot::AddRmsNorm@1 in=x,r,w out=s,y epsilon=f:1e-06");
  assert(std::fabs(norm.attribute("epsilon")->number - 1e-6) < 1e-18);
  const IngotNode gate = node_of("op n ingot::Gate@1 in=x out=y activation=s:si%6Cu");
  assert(gate.attribute("activation")->text == "silu");
  const IngotNode turned = node_of("op n ::Transpose@24 in=x out=y perm=I:1,0");
  assert(turned.attribute("perm")->integers == (std::vector<int64_t>{1, 0}));
}

void a_line_is_refused() {
  const auto said = [](std::string_view line) { return refusal([&] { node_of(line); }); };
  assert(contains(said("op n ingot::Linear"), "a node is written"));
  assert(contains(said("op n ingot::Linaer@1 in=x,w out=y"), "no op ingot::Linaer"));
  assert(contains(said("op n ingot::Linear@1 in=x out=y"), "needs its input weight"));
  assert(contains(said("op n ingot::Linear@1 in=x,- out=y"), "needs its input weight"));
  assert(contains(said("op n ingot::Linear@1 in=x,w,b,c out=y"), "takes 3 inputs, 4 are given"));
  assert(contains(said("op n ::Concat@24 in= out=y axis=i:0"), "needs its input inputs"));
  assert(contains(said("op n ::Split@24 in=x out= num_outputs=i:1"), "needs its output outputs"));
  assert(contains(said("op n ingot::Linear@1 in=x,w out=y,z"), "has 1 outputs, 2 are given"));
  assert(contains(said("op n ingot::ScaledLinear@1 in=x,-,w,s out=y"), "needs the attribute dtype"));
  assert(contains(said("op n ingot::ScaledLinear@1 in=x,-,w,s out=y dtype=d:b16"), "'b16' is no element type"));
  assert(contains(said("op n ingot::ScaledLinear@1 in=x,-,w,s out=y dtype=i:3"), "must be written dtype=d:"));
  assert(contains(said("op n ingot::ScaledLinear@1 in=x,-,w,s out=y dtype=d:f16 dtype=d:f16"), "given twice"));
  assert(contains(said("op n ingot::AddRmsNorm@1 in=x,r,w out=s,y epsilon=f:1e"), "no number"));
  assert(contains(said("op n ingot::AddRmsNorm@1 in=x,r,w out=s,y epsilno=f:1"), "it has: epsilon"));
  assert(contains(said("op n ingot::Gate@1 in=x out=y activation=s:a%4"), "two hexadecimal digits"));
}

void words_bind() {
  const IngotNode node = test_node(3);
  std::vector<IngotTensor> inputs = {tensor(INGOT_F32, {5, 8}), tensor(INGOT_F32, {6, 8}), {}}, outputs(2);
  std::vector<int64_t> words;
  infer(node, nullptr, inputs, outputs, &words);
  assert(words == (std::vector<int64_t>{5, 8, 6}));  // T D F
  assert(outputs[0].dtype == INGOT_BF16 && dims_text(outputs[0]) == "5,6" && outputs[0].stride[0] == 6);
  assert(outputs[1].dtype == INGOT_F32 && dims_text(outputs[1]) == "8,7");

  const auto said = [&](std::vector<IngotTensor> given) {
    std::vector<IngotTensor> made(2);
    return refusal([&] { infer(node, nullptr, given, made); });
  };
  assert(contains(said({tensor(INGOT_F16, {5, 8}), inputs[1], {}}), "x is f16, the row takes X:f32|bf16"));
  assert(contains(said({inputs[0], tensor(INGOT_BF16, {6, 8}), {}}), "weight is bf16, but inputs before it are f32"));
  assert(contains(said({inputs[0], tensor(INGOT_F32, {6, 9}), {}}), "weight is [6,9], the row says [F D], and D is 8"));
  assert(contains(said({inputs[0], tensor(INGOT_F32, {6}), {}}), "weight is [6], the row says [F D]"));
  assert(contains(said({inputs[0], tensor(INGOT_F32, {7, 8}), {}}), "no whole number"));
  assert(contains(said({inputs[0], {}, {}}), "needs its input weight"));
}

// Shapes come from callers of ingot_infer_op too: nothing is multiplied that does not fit.
void absurd_sizes_are_refused() {
  const IngotNode node = test_node(int64_t{1} << 62);
  const auto said = [&](std::vector<IngotTensor> given) {
    std::vector<IngotTensor> made(2);
    return refusal([&] { infer(node, nullptr, given, made); });
  };
  assert(contains(said({tensor(INGOT_F32, {5, 8}), tensor(INGOT_F32, {6, 8}), {}}), "too large"));  // F+2*rest
  const int64_t large = int64_t{1} << 40;
  assert(contains(said({tensor(INGOT_F32, {large, large}), tensor(INGOT_F32, {6, large}), {}}), "absurd size"));
  assert(contains(said({tensor(INGOT_F32, {-5, 8}), tensor(INGOT_F32, {6, 8}), {}}), "absurd size"));
  IngotTensor deep = tensor(INGOT_F32, {5, 8});
  deep.rank = INGOT_MAX_RANK + 1;
  assert(contains(said({deep, tensor(INGOT_F32, {6, 8}), {}}), "absurd size"));
}

void a_kernel_is_chosen() {
  HostState state;
  const IngotCtx ctx = host_context(state);
  IngotNode node = test_node(0);
  const auto name = [&](const char *wanted) { return std::string(choose(node, ctx, wanted, nullptr)->name); };
  node.inputs = {tensor(INGOT_F32, {4, 8})};
  assert(name("auto") == "avx512" && name("avx2") == "avx2" && name("portable") == "naive" && name("naive") == "naive");
  node.inputs = {tensor(INGOT_F32, {5, 8})};
  assert(name("auto") == "avx2" && name("avx512") == "avx2");
  std::string why;
  assert(!kernel_named(node, ctx, "avx512", &why) && contains(why, "more than 4 rows"));
  assert(!kernel_named(node, ctx, "sse", &why) && contains(why, "it has: avx512, avx2, xqa, naive"));
  assert(!kernel_named(node, ctx, "xqa", &why) && contains(why, "CUDA"));
}

void small_floats_round() {
  for (uint32_t code = 0; code < 65536; ++code) {
    const float half = from_f16(static_cast<uint16_t>(code)), brain = from_bf16(static_cast<uint16_t>(code));
    assert(std::isnan(half) || to_f16(half) == code);
    assert(std::isnan(brain) || to_bf16(brain) == code);
  }
  for (uint32_t code = 0; code < 256; ++code) {
    const float x = from_e4m3(static_cast<uint8_t>(code)), y = from_e5m2(static_cast<uint8_t>(code));
    assert(std::isnan(x) || to_e4m3(x) == code);
    assert(std::isnan(y) || std::isinf(y) || to_e5m2(y) == code);
  }
  assert(to_e4m3(1e9f) == 0x7E && to_e4m3(1e9f, false) == 0x7F && to_e4m3(464.f, false) == 0x7E);
  assert(to_e4m3(465.f, false) == 0x7F && to_e4m3(-0.f) == 0x80 && to_e4m3(0x1p-10f) == 0 && to_e4m3(0x1.8p-9f) == 2);
  assert(to_f16(65519.9f) == 0x7BFF && to_f16(65520.f) == 0x7C00 && to_f16(0x1p-25f) == 0);
}

void a_library_is_refused() {
  OpTable table;
  assert(contains(refusal([&] { table.add_library("no/such/library.so"); }), "cannot be opened"));
  assert(table.find("ai.onnx", "Add") == table.find("", "Add") && !table.find("other", "Add"));
}

}  // namespace

int main() {
  a_line_is_read();
  a_line_is_refused();
  words_bind();
  absurd_sizes_are_refused();
  a_kernel_is_chosen();
  small_floats_round();
  a_library_is_refused();
}
