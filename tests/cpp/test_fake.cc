// The fake engine: right pages give the tokens that the rule foretells, wrong ones do not.
#include <cstdarg>
#include <vector>

#include "engines/fake.h"
#include "engines/registry.h"
#include "ingot.h"
#include "small_folder.h"

using namespace ingot;

namespace {

const char *fake_plan =
    "ingot-plan 1\n"
    "max T=8 S=2 N=8 Q=8 M=4 L=16\n"
    "vocab 50\n"
    "group full kind=paged page=4 window=0 sharded=1\n"
    "group window5 kind=window page=4 window=5 sharded=1\n"
    "state k0 group=full dtype=i32 dims=P,4\n"
    "state k1 group=window5 dtype=i32 dims=P,4\n"
    "function step\n"
    "field ids_T i32 T\n"
    "field positions_T i32 T\n"
    "field sequences_T i32 T\n"
    "field rows_N i32 N\n"
    "field pages0_SM i32 S,M\n"
    "field cells0_T i32 T\n"
    "field pages1_SM i32 S,M\n"
    "field cells1_T i32 T\n"
    "end\n";

std::string last_sentence;  // the one place where the test's host keeps an error

int keep_error(IngotCtx *, const char *format, ...) {
  char text[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  last_sentence = text;
  return 1;
}

// One sequence on an engine opened over `plan`, its page tables written by hand.
class Run {
 public:
  explicit Run(const std::string &plan = fake_plan) {
    folder_.write("plan.txt", plan);
    host_.size = sizeof host_;
    host_.error = keep_error;
    ctx_.host = &host_;
    const IngotEngineOptions options{sizeof options, folder_.path.c_str(), &ctx_, 1, nullptr};
    status = api_->open(&options, &self_);
    if (status) return;
    const int32_t pages[] = {8, 8};
    void *const group0[] = {pool0_}, *const group1[] = {pool1_};
    void *const *const pools[] = {group0, group1};
    const IngotPools all{sizeof all, 2, pages, pools};
    assert(api_->bind(self_, &all) == 0);
  }
  ~Run() {
    if (self_) api_->close(self_);
  }

  const IngotEngineSpec *spec() const { return api_->spec(self_); }

  // Feeds tokens[from …] of the sequence; returns the best token after the last, or -1.
  int32_t feed(const std::vector<int32_t> &tokens, size_t from) {
    std::vector<int32_t> ids, positions, sequences, rows, cells0, cells1;
    for (size_t p = from; p < tokens.size(); ++p) {
      ids.push_back(tokens[p]);
      positions.push_back(static_cast<int32_t>(p));
      sequences.push_back(0);
      cells0.push_back(table0[p / 4] * 4 + static_cast<int32_t>(p % 4));
      cells1.push_back(table1[p / 4] * 4 + static_cast<int32_t>(p % 4));
    }
    const auto T = static_cast<int32_t>(ids.size());
    rows.push_back(T - 1);
    const auto flat = [](std::vector<int32_t> &v) {
      return IngotTensor{v.data(), {static_cast<int64_t>(v.size())}, {1}, INGOT_I32, 1};
    };
    const auto table = [](std::vector<int32_t> &v) { return IngotTensor{v.data(), {1, 4}, {4, 1}, INGOT_I32, 2}; };
    const IngotTensor fields[] = {flat(ids),     flat(positions), flat(sequences), flat(rows),
                                  table(table0), flat(cells0),    table(table1),   flat(cells1)};
    IngotStep step{};
    step.size = sizeof step;
    step.T = step.Q = T;
    step.S = step.N = 1;
    step.fields = fields;
    step.n_fields = 8;
    IngotTensor logits{};
    status = api_->enqueue(self_, &step, nullptr, &logits);
    if (status) return -1;
    assert(logits.rank == 2 && logits.shape[0] == 1 && logits.shape[1] == 50);
    const float *row = static_cast<const float *>(logits.data);
    int32_t best = -1, scores = 0;
    for (int32_t v = 0; v < 50; ++v) {
      if (row[v] != 0) best = v, ++scores;
    }
    assert(scores == 1 && row[best] == fake_score);
    return best;
  }

  int status = 0;
  std::vector<int32_t> table0{3, 1, 5, 2}, table1{2, 6, 1, 4};
  int32_t pool0_[32] = {}, pool1_[32] = {};

 private:
  SmallFolder folder_;
  IngotHost host_{};
  IngotCtx ctx_{};
  const IngotEngineApi *api_ = find_engine("fake", "");
  void *self_ = nullptr;
};

int32_t foretold(const std::vector<int32_t> &tokens) {
  const int32_t windows[] = {0, 5};
  return fake_next_token(tokens, windows, 50);
}

void the_spec_is_the_plan() {
  Run run;
  const IngotEngineSpec *spec = run.spec();
  assert(spec->n_groups == 2 && spec->vocab == 50 && spec->max_tokens == 8 && spec->max_pages == 4 && spec->max_length == 16);
  assert(std::string_view(spec->groups[1].kind) == "window" && spec->groups[1].window == 5 && spec->groups[1].tensors[0].shape[1] == 4);
  const IngotFunction &step = spec->functions[0];
  assert(step.n_fields == 8 && std::string_view(step.fields[4].dims[1]) == "M" && step.n_outputs == 1);
  assert(std::string_view(step.outputs[0].name) == "logits_NV" && std::string_view(step.outputs[0].dims[1]) == "50");
}

void tokens_follow_the_rule() {
  Run run;
  std::vector<int32_t> tokens{7, 8, 9, 10, 11, 12};
  size_t fed = 0;
  while (tokens.size() < 14) {
    const int32_t next = run.feed(tokens, fed);
    assert(next == foretold(tokens));
    fed = tokens.size();
    tokens.push_back(next);
    if (tokens.size() == 11) run.table1[0] = 0;  // page 0 of the table has left the window of 5
  }
}

void a_wrong_page_gives_a_wrong_token() {
  Run run;
  std::vector<int32_t> tokens{7, 8, 9, 10, 11, 12};
  assert(run.feed(tokens, 0) == foretold(tokens));
  tokens.push_back(13);
  run.pool0_[3 * 4 + 1] = 44;  // somebody else writes into the first page
  assert(run.feed(tokens, 6) != foretold(tokens));
  run.pool0_[3 * 4 + 1] = 8;
  assert(run.feed(tokens, 6) == foretold(tokens));
  run.table1[0] = 7;
  assert(run.feed(tokens, 6) != foretold(tokens));
}

void what_is_out_of_range_is_refused() {
  Run run;
  run.table0[0] = 8;
  assert(run.feed({1, 2}, 0) == -1 && contains(last_sentence, "cell 32"));
  run.table0[0] = 1;
  assert(run.feed({1, 50}, 0) == -1 && contains(last_sentence, "the vocabulary has 50"));
  run.table0[1] = -1;
  assert(run.feed({1, 2}, 0) == foretold({{1, 2}}));
  const std::string plan = fake_plan;
  Run missing(std::string(plan).erase(plan.find("field rows_N i32 N\n"), 19));
  assert(missing.status == INGOT_FOLDER && contains(last_sentence, "no field rows_N"));
  assert(contains(refusal([] { find_engine("cpu2", ""); }), "asks for the engine 'cpu2'"));
  assert(contains(refusal([] { find_engine("x", "/nowhere/libx.so"); }), "cannot be opened"));
}

}  // namespace

int main() {
  the_spec_is_the_plan();
  tokens_follow_the_rule();
  a_wrong_page_gives_a_wrong_token();
  what_is_out_of_range_is_refused();
  return 0;
}
