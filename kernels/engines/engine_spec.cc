#include "engines/engine_spec.h"

namespace ingot {

EngineSpec::EngineSpec(const Plan &plan, int64_t weight_bytes, int64_t activation_bytes, bool capturable) {
  for (const PlanFunction &function : plan.functions) add_function(plan, function);
  for (const PlanGroup &group : plan.groups) add_group(plan, group);
  spec_.size = sizeof spec_;
  spec_.n_functions = static_cast<int32_t>(functions_.size());
  spec_.n_groups = static_cast<int32_t>(groups_.size());
  spec_.functions = functions_.data();
  spec_.groups = groups_.data();
  spec_.max_tokens = static_cast<int32_t>(plan.max.T);
  spec_.max_sequences = static_cast<int32_t>(plan.max.S);
  spec_.max_rows = static_cast<int32_t>(plan.max.N);
  spec_.max_length = plan.max_length;
  spec_.max_pages = static_cast<int32_t>(plan.max.M);
  spec_.vocab = plan.vocab;
  spec_.weight_bytes = weight_bytes;
  spec_.activation_bytes = activation_bytes;
  spec_.capturable = capturable ? 1 : 0;
}

const char *EngineSpec::keep(const std::string &text) { return texts_.emplace_back(text).c_str(); }

IngotNamedTensor EngineSpec::named(const PlanValue &value) {
  IngotNamedTensor tensor{};
  tensor.name = keep(value.name);
  tensor.dtype = value.dtype;
  tensor.rank = static_cast<int32_t>(value.dims.size());
  for (int32_t i = 0; i < tensor.rank; ++i) tensor.dims[i] = keep(value.dims[i].text());
  return tensor;
}

void EngineSpec::add_function(const Plan &plan, const PlanFunction &function) {
  auto &fields = tensors_.emplace_back();
  for (const int32_t field : function.fields) fields.push_back(named(plan.values[field]));
  auto &outputs = tensors_.emplace_back();
  for (const int32_t output : function.outputs) outputs.push_back(named(plan.values[output]));
  if (outputs.empty()) {
    IngotNamedTensor logits{"logits_NV", INGOT_F32, 2, {"N", keep(std::to_string(plan.vocab))}};
    outputs.push_back(logits);
  }
  functions_.push_back({keep(function.name), static_cast<int32_t>(fields.size()), static_cast<int32_t>(outputs.size()),
                        fields.data(), outputs.data()});
}

void EngineSpec::add_group(const Plan &plan, const PlanGroup &group) {
  auto &tensors = states_.emplace_back();
  for (const int32_t state : group.states) {
    const PlanValue &value = plan.values[state];
    IngotStateTensor tensor{};
    tensor.name = keep(value.name);
    tensor.dtype = value.dtype;
    tensor.rank = static_cast<int32_t>(value.dims.size());
    for (int32_t i = 1; i < tensor.rank; ++i) tensor.shape[i] = value.dims[i].constant;
    tensors.push_back(tensor);
  }
  groups_.push_back({keep(group.name), keep(group.kind), group.page_tokens, group.window, group.sharded ? 1 : 0,
                     static_cast<int32_t>(tensors.size()), tensors.data()});
}

}  // namespace ingot
