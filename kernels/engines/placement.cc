#include "engines/placement.h"

#include <algorithm>
#include <string_view>

#include "engines/arena.h"

namespace ingot {
namespace {

bool is_view(const IngotOp &row) {
  static constexpr std::string_view names[] = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"};
  return row.domain[0] == '\0' && std::find(std::begin(names), std::end(names), row.name) != std::end(names);
}

// Sets of values that share memory; the root of a set carries its life.
class Sharing {
 public:
  explicit Sharing(const Plan &plan) : plan_(plan), parent_(plan.values.size()), last_(plan.values.size()) {
    for (size_t i = 0; i < parent_.size(); ++i) {
      parent_[i] = static_cast<int32_t>(i);
      last_[i] = plan.values[i].last;
    }
  }

  int32_t root(int32_t value) {
    while (parent_[value] != value) value = parent_[value] = parent_[parent_[value]];
    return value;
  }

  int32_t last(int32_t value) { return last_[root(value)]; }

  bool same_bytes(int32_t a, int32_t b) const {
    return bytes_of(plan_.values[a], plan_.max) == bytes_of(plan_.values[b], plan_.max);
  }

  // `later` lies from now on where `earlier` lies.
  void join(int32_t earlier, int32_t later) {
    const int32_t a = root(earlier), b = root(later);
    if (a == b) return;
    parent_[b] = a;
    last_[a] = std::max(last_[a], last_[b]);
  }

 private:
  const Plan &plan_;
  std::vector<int32_t> parent_, last_;
};

bool is_activation(const Plan &plan, int32_t value) {
  return value >= 0 && plan.values[value].role == PlanRole::activation;
}

void join_views(const Plan &plan, const PlanFunction &function, std::vector<PlacedOp> &ops, Sharing &sharing) {
  for (size_t i = 0; i < ops.size(); ++i) {
    const PlanOp &op = function.ops[i];
    if (!is_view(*ops[i].row) || op.in.empty() || op.out.size() != 1) continue;
    if (!is_activation(plan, op.in[0]) || !is_activation(plan, op.out[0]) || !sharing.same_bytes(op.in[0], op.out[0]))
      continue;
    sharing.join(op.in[0], op.out[0]);
    ops[i].view = true;
  }
}

// An output takes over the memory of the input that its row names, if that input ends here, is as large, and is read
// once.
void join_successors(const Plan &plan, const PlanFunction &function, const std::vector<PlacedOp> &ops,
                     Sharing &sharing) {
  for (int32_t i = 0; i < static_cast<int32_t>(ops.size()); ++i) {
    const PlanOp &op = function.ops[i];
    const IngotOp &row = *ops[i].row;
    if (ops[i].view) continue;
    int32_t taken = -1;
    for (size_t k = 0; k < op.out.size() && k < static_cast<size_t>(row.n_out); ++k) {
      const int32_t source = row.out[k].alias;
      if (source < 0 || static_cast<size_t>(source) >= op.in.size()) continue;
      const int32_t in = op.in[source], out = op.out[k];
      if (!is_activation(plan, in) || !is_activation(plan, out) || in == taken) continue;
      const auto &a = plan.values[in], &b = plan.values[out];
      const auto readers = std::count_if(op.in.begin(), op.in.end(), [&](int32_t other) {
        return is_activation(plan, other) && sharing.root(other) == sharing.root(in);
      });
      if (sharing.last(in) != i || a.dtype != b.dtype || a.dims != b.dims || readers != 1) continue;
      sharing.join(in, out);
      taken = in;
    }
  }
}

}  // namespace

Placement place(const Plan &plan, const PlanFunction &function, std::vector<PlacedOp> &ops) {
  Sharing sharing(plan);
  join_views(plan, function, ops, sharing);
  join_successors(plan, function, ops, sharing);

  std::vector<ArenaBlock> blocks;
  std::vector<int32_t> block_of(plan.values.size(), -1), written;
  for (size_t i = 0; i < ops.size(); ++i) {
    for (const int32_t value : function.ops[i].out) {
      if (!is_activation(plan, value)) continue;
      written.push_back(value);
      int32_t &block = block_of[sharing.root(value)];
      if (block < 0) {
        block = static_cast<int32_t>(blocks.size());
        blocks.push_back({bytes_of(plan.values[value], plan.max), static_cast<int32_t>(i), sharing.last(value)});
      }
    }
  }
  std::vector<int32_t> workspace_block(ops.size(), -1);
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].workspace_bytes == 0 || ops[i].view) continue;
    workspace_block[i] = static_cast<int32_t>(blocks.size());
    blocks.push_back({ops[i].workspace_bytes, static_cast<int32_t>(i), static_cast<int32_t>(i)});
  }

  Placement placement;
  placement.bytes = plan_arena(blocks);
  placement.offsets.assign(plan.values.size(), -1);
  for (const int32_t value : written) placement.offsets[value] = blocks[block_of[sharing.root(value)]].offset;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (workspace_block[i] >= 0) ops[i].workspace = blocks[workspace_block[i]].offset;
  }
  return placement;
}

}  // namespace ingot
