// plan.txt: what it is read as, what is refused, and where its values lie in memory.
#include <algorithm>
#include <vector>

#include "engines/arena.h"
#include "engines/plan.h"
#include "ingot_op.h"
#include "small_plan.h"

using namespace ingot;

namespace {

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  assert(at != text.npos);
  return text.replace(at, from.size(), to);
}

std::string refused(std::string_view from, std::string_view to) {
  const std::string text = replaced(small_plan, from, to);
  const std::string sentence = refusal([&] { parse_plan(text, "plan.txt"); });
  assert(contains(sentence, "plan.txt:"));
  return sentence;
}

void a_plan_is_read() {
  const Plan plan = parse_plan(small_plan, "plan.txt");
  assert(plan.max.T == 4 && plan.max.M == 4 && plan.max_length == 16 && plan.vocab == 2 && plan.functions.size() == 1);
  const PlanFunction &step = plan.functions[0];
  assert(step.ops.size() == 4 && step.fields.size() == 2 && step.outputs.size() == 1);
  const PlanOp &linear = step.ops[1];
  assert(linear.name == "n1" && linear.line_number == 15 && linear.in.size() == 3 && linear.in[2] == -1);
  const PlanValue &x = plan.values[linear.in[0]];
  assert(x.name == "x_TD" && x.dtype == INGOT_F32 && x.first == 0 && x.last == 2 && bytes_of(x, {.T = 3}) == 24);
}

void dimensions_are_linear_forms() {
  const std::string text = replaced(small_plan, "field ids_T i32 T", "field ids_T i32 T\nfield odd i64 2*T+3*S+1,N+T-1,7,S,M,scalar");
  assert(contains(refusal([&] { parse_plan(text, "p"); }), "multiples of T, S, N, Q, M"));
  const Plan plan = parse_plan(replaced(text, ",scalar", ",Q"), "p");
  const PlanValue &odd = plan.values[plan.functions[0].fields[1]];
  const StepSizes sizes{.T = 10, .S = 100, .N = 1000, .Q = 4, .M = 5};
  assert(odd.dims[0].evaluate(sizes) == 321 && odd.dims[1].evaluate(sizes) == 1009 && odd.dims[2].evaluate(sizes) == 7);
  assert(odd.dims[0].text() == "2*T+3*S+1" && odd.dims[1].text() == "T+N-1" && odd.dims[2].text() == "7");
  for (const char *form : {"T*2", "2*", "*T", "-T", "1-T", "T+", "X", "2*TT", "", "T,,2", "99999999999999999999", "T*S", "0x2"}) {
    const std::string wrong = replaced(small_plan, "ids_T i32 T", std::string("ids_T i32 ") + form);
    assert(!refusal([&] { parse_plan(wrong, "p"); }).empty());
  }
}

void a_plan_is_refused_where_it_is_wrong() {
  assert(contains(refused("ingot-plan 1", "ingot-plan 2"), "version 1"));
  assert(contains(refused("end\n", ""), "is cut"));
  assert(contains(refused("end\n", "end\nvocab 3\n"), "nothing but comments"));
  assert(contains(refused("vocab 2", "vocab 0"), "should be a number from 1"));
  assert(contains(refused("vocab 2\n", ""), "no line 'vocab'"));
  assert(contains(refused("weight mix_FD f32 2,2", "weight mix_FD f31 2,2"), "is no type"));
  assert(contains(refused("weight mix_FD f32 2,2", "weight mix_FD f32 T,2"), "must be numbers"));
  assert(contains(refused("value y_TD", "value x_TD"), "second declaration"));
  assert(contains(refused("in=x_TD,mix_FD,-", "in=none,mix_FD,-"), "not declared"));
  assert(contains(refused("in=x_TD,mix_FD,-", "in=z_TD,mix_FD,-"), "before any op has written it"));
  assert(contains(refused("out=y_TD", "out=x_TD"), "written already"));
  assert(contains(refused("out=y_TD", "out=mix_FD"), "not a value"));
  assert(contains(refused("life=0:2", "life=0:1"), "its life says otherwise"));
  assert(contains(refused("life=0:2", "life=1:2"), "its life says otherwise"));
  assert(contains(refused("life=0:2", "life=2:0"), "should be a number"));
  assert(contains(refused("output logits_NV f32 N,2", "output logits_NV f32 N,3"), "same type and dimensions"));
  assert(contains(refused("output logits_NV f32 N,2\n", ""), "no output"));
  assert(contains(refused("ingot::Linear@1", "ingot::Linear"), "DOMAIN::OP@VERSION"));
  assert(contains(refused("field ids_T", "feild ids_T"), "unknown kind of line"));
  assert(contains(refused("f32 T,2", "f32  T,2"), "one space"));
  assert(contains(refused("value x_TD f32 T,2", "value x_TD f32 9999999999*T,9999999999"), "absurd"));
  assert(contains(refused("function step\n", "state k group=full dtype=f32 dims=P,2\nfunction step\n"), "group is not declared"));
  assert(contains(refused("function step\n", "group full kind=paged page=4 window=0 sharded=1\nfunction step\n"), "has no state"));
}

// Sizes that would overflow when a step binds them, and lists that would take quadratic time, are refused as they are read.
void what_cannot_be_counted_is_refused() {
  assert(contains(refused("ids_T i32 T", "ids_T i32 17179869185*T"), "from 0 to 17179869184"));
  assert(contains(refused("ids_T i32 T", "ids_T i32 2*P"), "absurd"));
  assert(contains(refused("ids_T i32 T", "ids_T i32 8589934592*T+8589934593*T"), "absurd"));
  const std::string widest = replaced(small_plan, "max T=4 S=2 N=4 Q=4 M=4", "max T=16777216 S=1048576 N=16777216 Q=16777216 M=16777216");
  for (const char *dims : {"17179869184*T+17179869184*S+17179869184*N+17179869184*Q+17179869184*M+P+17179869184", "17179869184,0,17179869184,17179869184"}) {
    const std::string text = replaced(widest, "ids_T i32 T", std::string("ids_T i32 ") + dims);
    assert(contains(refusal([&] { parse_plan(text, "p"); }), "absurd"));
  }
  assert(contains(refused("function step\n", "const c i32 1 2147483648\nfunction step\n"), "no i32"));
  const auto many = [](int count, auto &&line) {
    std::string text;
    for (int i = 0; i < count; ++i) text += line(std::to_string(i));
    return text;
  };
  const std::string groups = many(65, [](const std::string &i) { return "group g" + i + " kind=paged page=4 window=0 sharded=1\n"; });
  assert(contains(refused("function step\n", groups + "function step\n"), "more than 64 groups"));
  const std::string fields = many(255, [](const std::string &i) { return "field f" + i + " i32 T\n"; });
  assert(contains(refused("field rows_N i32 N\n", "field rows_N i32 N\n" + fields), "more than 256 fields"));
  const std::string inputs = many(1025, [](const std::string &) { return std::string("x_TD,"); });
  assert(contains(refused("in=z_TD,rows_N", "in=" + inputs + "rows_N"), "more than 1024 inputs"));
}

void facts_alone_can_be_read() {
  const std::string text = replaced(small_plan, "ingot::Linear@1", "nothing");
  assert(parse_plan(text, "p", PlanPart::facts).functions[0].fields.size() == 2);
}

void damaged_plans_are_read_or_refused() {
  const std::string good = small_plan;
  for (size_t i = 0; i < good.size(); ++i) {
    for (int change = 1; change < 256; change = change * 2 + 1) {
      std::string damaged = good;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      refusal([&] { parse_plan(damaged, "p"); });
    }
    for (const char c : std::string_view(" \n,=*+-:0T9#")) {
      std::string damaged = good;
      damaged[i] = c;
      refusal([&] { parse_plan(damaged, "p"); });
      damaged = good;
      damaged.insert(i, 1, c);
      refusal([&] { parse_plan(damaged, "p"); });
    }
    assert(!refusal([&] { parse_plan(good.substr(0, i), "p"); }).empty());
  }
}

// Blocks of pseudo-random sizes and lives: none that live together overlap, and the whole is near the least that is possible.
void blocks_that_live_together_do_not_overlap() {
  std::vector<ArenaBlock> blocks;
  uint32_t random = 1;
  const auto next = [&random](uint32_t n) { return (random = random * 1664525 + 1013904223) / 65536 % n; };
  for (int i = 0; i < 400; ++i) {
    const auto first = static_cast<int32_t>(next(200));
    blocks.push_back({static_cast<int64_t>(next(5000)), first, first + static_cast<int32_t>(next(8))});
  }
  const int64_t total = plan_arena(blocks);
  std::vector<int64_t> live(210, 0);
  for (size_t a = 0; a < blocks.size(); ++a) {
    assert(blocks[a].offset % 256 == 0 && blocks[a].offset + blocks[a].bytes <= total);
    for (int32_t i = blocks[a].first; i <= blocks[a].last; ++i) live[i] += (blocks[a].bytes + 255) / 256 * 256;
    for (size_t b = 0; b < a; ++b) {
      const bool together = blocks[a].first <= blocks[b].last && blocks[b].first <= blocks[a].last;
      const bool overlap = blocks[a].offset < blocks[b].offset + blocks[b].bytes && blocks[b].offset < blocks[a].offset + blocks[a].bytes;
      assert(!together || !overlap);
    }
  }
  const int64_t least = *std::max_element(live.begin(), live.end());
  assert(total >= least && total <= least * 5 / 4);
}

}  // namespace

int main() {
  a_plan_is_read();
  dimensions_are_linear_forms();
  a_plan_is_refused_where_it_is_wrong();
  what_cannot_be_counted_is_refused();
  facts_alone_can_be_read();
  damaged_plans_are_read_or_refused();
  blocks_that_live_together_do_not_overlap();
  return 0;
}
