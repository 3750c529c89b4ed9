#include "engines/fake.h"

#include <cstring>
#include <memory>
#include <vector>

#include "engines/boundary.h"
#include "engines/engine_spec.h"
#include "engines/plan.h"

namespace ingot {
namespace {

class FakeEngine {
 public:
  FakeEngine(const std::string &directory, IngotCtx *ctx)
      : plan_(read_plan(directory + "/plan.txt", PlanPart::facts)), ctx_(ctx), spec_(plan_, 0, logits_bytes()) {
    find_fields();
    for (const PlanGroup &group : plan_.groups) check_group(group);
    logits_.resize(static_cast<size_t>(plan_.max.N) * static_cast<size_t>(plan_.vocab));
    hot_.assign(static_cast<size_t>(plan_.max.N), 0);
  }

  IngotCtx *ctx() const { return ctx_; }
  const IngotEngineSpec *spec() const { return spec_.get(); }

  void bind(const IngotPools &pools) {
    if (pools.n_groups != static_cast<int32_t>(plan_.groups.size())) {
      fail(INGOT_INVALID, "bind: pools of %d groups, the plan has %zu", pools.n_groups, plan_.groups.size());
    }
    for (int32_t g = 0; g < pools.n_groups; ++g) {
      groups_[g].pool = static_cast<uint8_t *>(pools.pools[g][0]);
      groups_[g].pages = pools.pages[g];
    }
  }

  void enqueue(const IngotStep &step, IngotTensor *outputs) {
    if (step.n_fields != static_cast<int32_t>(plan_.functions[0].fields.size()) || step.N > plan_.max.N ||
        step.T > plan_.max.T) {
      fail(INGOT_INVALID, "the step does not fit the plan: %d fields, T=%d, N=%d", step.n_fields, step.T, step.N);
    }
    for (const Group &group : groups_) write(step, group);
    const int32_t *rows = field(step, rows_), *sequences = field(step, sequences_),
                  *positions = field(step, positions_);
    for (int32_t n = 0; n < step.N; ++n) {
      const int32_t t = rows[n];
      if (t < 0 || t >= step.T) fail(INGOT_INVALID, "rows_N[%d] is %d, the step has %d tokens", n, t, step.T);
      if (positions[t] < 0 || sequences[t] < 0 || sequences[t] >= step.S) {
        fail(INGOT_INVALID, "token %d has position %d and sequence %d of %d", t, positions[t], sequences[t], step.S);
      }
      answer(n, next_token(step, t, sequences[t], positions[t]));
    }
    outputs[0] = IngotTensor{logits_.data(), {step.N, plan_.vocab}, {plan_.vocab, 1}, INGOT_F32, 2};
  }

 private:
  struct Group {
    int32_t pages_field, cells_field, page_tokens, window;
    int64_t page_bytes;
    uint8_t *pool = nullptr;
    int32_t pages = 0;
  };

  int64_t logits_bytes() const { return plan_.max.N * plan_.vocab * static_cast<int64_t>(sizeof(float)); }

  int32_t field_index(const std::string &name) const {
    const auto &fields = plan_.functions[0].fields;
    for (size_t i = 0; i < fields.size(); ++i) {
      const PlanValue &value = plan_.values[fields[i]];
      if (value.name != name) continue;
      if (value.dtype != INGOT_I32) fail(INGOT_FOLDER, "plan.txt: field %s must be i32", name.c_str());
      return static_cast<int32_t>(i);
    }
    fail(INGOT_FOLDER, "plan.txt has no field %s, which the fake engine reads; add the line 'field %s i32 …'",
         name.c_str(), name.c_str());
  }

  void find_fields() {
    ids_ = field_index("ids_T");
    positions_ = field_index("positions_T");
    sequences_ = field_index("sequences_T");
    rows_ = field_index("rows_N");
  }

  void check_group(const PlanGroup &group) {
    const std::string number = std::to_string(groups_.size());
    StepSizes one_page = plan_.max;
    one_page.P = 1;
    const int64_t page_bytes = bytes_of(plan_.values[group.states[0]], one_page);
    if (group.kind == "state")
      fail(INGOT_FOLDER, "plan.txt: the fake engine has no group of kind state ('%.80s')", group.name.c_str());
    if (page_bytes < int64_t{4} * group.page_tokens) {
      fail(INGOT_FOLDER,
           "plan.txt: group '%.80s': a page of %s has %lld bytes, the fake engine needs 4 for each of its %d tokens",
           group.name.c_str(), plan_.values[group.states[0]].name.c_str(), static_cast<long long>(page_bytes),
           group.page_tokens);
    }
    groups_.push_back({field_index("pages" + number + "_SM"), field_index("cells" + number + "_T"), group.page_tokens,
                       group.window, page_bytes});
  }

  static const int32_t *field(const IngotStep &step, int32_t index) {
    return static_cast<const int32_t *>(step.fields[index].data);
  }

  static uint8_t *cell(const Group &group, int64_t page, int64_t place) {
    return group.pool + page * group.page_bytes + 4 * place;
  }

  void write(const IngotStep &step, const Group &group) const {
    if (!group.pool) fail(INGOT_INVALID, "a step came before bind");
    const int32_t *cells = field(step, group.cells_field), *ids = field(step, ids_);
    const int64_t end = int64_t{group.pages} * group.page_tokens;
    for (int32_t t = 0; t < step.T; ++t) {
      if (cells[t] < 0 || cells[t] >= end) {
        fail(INGOT_INVALID, "cell %d of token %d is not one of the pool's %lld", cells[t], t,
             static_cast<long long>(end));
      }
      if (ids[t] < 0 || ids[t] >= plan_.vocab)
        fail(INGOT_INVALID, "ids_T[%d] is %d, the vocabulary has %d", t, ids[t], plan_.vocab);
      std::memcpy(cell(group, cells[t] / group.page_tokens, cells[t] % group.page_tokens), &ids[t], sizeof *ids);
    }
  }

  int32_t next_token(const IngotStep &step, int32_t t, int32_t sequence, int64_t position) const {
    uint64_t answer = 0;
    if (groups_.empty()) answer = fake_mix(fake_trace(field(step, ids_)[t], position));
    for (const Group &group : groups_) answer = fake_mix(answer ^ sum(step, group, sequence, position));
    return static_cast<int32_t>(answer % static_cast<uint32_t>(plan_.vocab));
  }

  // Over the tokens that this group sees from `position`, read back through its page table.
  static uint64_t sum(const IngotStep &step, const Group &group, int32_t sequence, int64_t position) {
    const IngotTensor &pages_SM = step.fields[group.pages_field];
    const int64_t columns = pages_SM.shape[1];
    if (position / group.page_tokens >= columns) {
      fail(INGOT_INVALID, "position %lld lies beyond the %lld columns of the page table",
           static_cast<long long>(position), static_cast<long long>(columns));
    }
    const int32_t *row = static_cast<const int32_t *>(pages_SM.data) + sequence * columns;
    const int64_t first = group.window == 0 || group.window > position ? 0 : position - group.window + 1;
    uint64_t sum = 0;
    for (int64_t i = first; i <= position; ++i) {
      const int32_t page = row[i / group.page_tokens];
      if (page < 0 || page >= group.pages)
        fail(INGOT_INVALID, "page %d is not one of the pool's %d", page, group.pages);
      int32_t token;
      std::memcpy(&token, cell(group, page, i % group.page_tokens), sizeof token);
      sum += fake_trace(token, i);
    }
    return sum;
  }

  void answer(int32_t row, int32_t token) {
    float *logits = logits_.data() + int64_t{row} * plan_.vocab;
    logits[hot_[row]] = 0;
    logits[token] = fake_score;
    hot_[row] = token;
  }

  Plan plan_;
  IngotCtx *ctx_;
  EngineSpec spec_;
  int32_t ids_ = 0, positions_ = 0, sequences_ = 0, rows_ = 0;
  std::vector<Group> groups_;
  std::vector<float> logits_;
  std::vector<int32_t> hot_;  // per row: where its score stands
};

FakeEngine &engine(void *self) { return *static_cast<FakeEngine *>(self); }

int open_fake(const IngotEngineOptions *options, void **self) {
  return at_boundary(options->ctx, [&] { *self = new FakeEngine(options->directory, options->ctx); });
}

const IngotEngineSpec *spec_of(void *self) { return engine(self).spec(); }

int bind_fake(void *self, const IngotPools *pools) {
  return at_boundary(engine(self).ctx(), [&] { engine(self).bind(*pools); });
}

int prepare_fake(void *, const IngotStep *) { return INGOT_OK; }

int enqueue_fake(void *self, const IngotStep *step, void *, IngotTensor *outputs) {
  return at_boundary(engine(self).ctx(), [&] { engine(self).enqueue(*step, outputs); });
}

int refit_fake(void *self, const char *name, const void *, size_t) {
  return at_boundary(engine(self).ctx(),
                     [&] { fail(INGOT_INVALID, "refit of '%.200s': the fake engine has no weights", name); });
}

void close_fake(void *self) { delete &engine(self); }

constexpr IngotEngineApi api = {sizeof(IngotEngineApi), INGOT_ENGINE_ABI, "fake",     open_fake,  spec_of, bind_fake,
                                prepare_fake,           enqueue_fake,     refit_fake, close_fake, nullptr, nullptr};

}  // namespace

const IngotEngineApi *fake_engine() { return &api; }

}  // namespace ingot
