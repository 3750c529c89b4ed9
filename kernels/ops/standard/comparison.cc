#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"

namespace ingot::standard {
namespace {

// What is compared, as a number to choose the function by.
enum class Relation { equal, less, less_or_equal, greater, greater_or_equal, both, either, one };

template <Relation relation, class Number>
int64_t holds(Number a, Number b) {
  switch (relation) {
    case Relation::equal:
      return a == b;
    case Relation::less:
      return a < b;
    case Relation::less_or_equal:
      return a <= b;
    case Relation::greater:
      return a > b;
    case Relation::greater_or_equal:
      return a >= b;
    case Relation::both:
      return a != 0 && b != 0;
    case Relation::either:
      return a != 0 || b != 0;
    default:
      return (a != 0) != (b != 0);
  }
}

template <Relation relation>
int compare(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &a = call.in[0], &b = call.in[1];
  if (is_float(a.dtype)) map<float, int64_t, 2>(ctx, call.out[0], {&a, &b}, holds<relation, float>);
  if (!is_float(a.dtype)) map<int64_t, int64_t, 2>(ctx, call.out[0], {&a, &b}, holds<relation, int64_t>);
  return 0;
}

template <Relation relation>
constexpr const IngotKernel &kernel = NaiveFunction<compare<relation>>::kernel;

template <class Number>
void choose(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &y = call.out[0];
  const Broadcast<3> plan(y, {&call.in[0], &call.in[1], &call.in[2]});
  plan.run(ctx, [&](int64_t first, int64_t n, const int64_t (&at)[3]) {
    int64_t condition[block_size];
    Number chosen[block_size], other[block_size];
    read_elements(call.in[0].data, INGOT_BOOL, at[0], plan.step(0), n, condition);
    read_elements(call.in[1].data, y.dtype, at[1], plan.step(1), n, chosen);
    read_elements(call.in[2].data, y.dtype, at[2], plan.step(2), n, other);
    for (int64_t i = 0; i < n; ++i) chosen[i] = condition[i] ? chosen[i] : other[i];
    write_elements(y.data, y.dtype, first, n, chosen);
  });
}

int where(const IngotCall &call, IngotCtx *ctx) {
  if (is_float(call.out[0].dtype)) choose<float>(call, ctx);
  if (!is_float(call.out[0].dtype)) choose<int64_t>(call, ctx);
  return 0;
}

int boolean_output(const Inference &inference) { return broadcast_output(inference, INGOT_BOOL); }
int where_output(const Inference &inference) { return broadcast_output(inference, inference.in[1].dtype); }

constexpr IngotArg in_numbers[] = {input("A", numbers), input("B", "T")};
constexpr IngotArg in_any[] = {input("A", whole_bytes), input("B", "T")};
constexpr IngotArg in_booleans[] = {input("A", "T:bool"), input("B", "T")};
constexpr IngotArg c[] = {output("C", "bool")};
constexpr IngotArg in_where[] = {input("condition", "bool"), input("X", whole_bytes), input("Y", "T")};
constexpr IngotArg out_where[] = {output("output", "T", 1)};

constexpr Infer boolean = infer_by<boolean_output>;

constexpr IngotOp rows[] = {
    row("Equal", "C = (A = B)", in_any, c, boolean, kernel<Relation::equal>),
    row("Less", "C = (A < B)", in_numbers, c, boolean, kernel<Relation::less>),
    row("LessOrEqual", "C = (A <= B)", in_numbers, c, boolean, kernel<Relation::less_or_equal>),
    row("Greater", "C = (A > B)", in_numbers, c, boolean, kernel<Relation::greater>),
    row("GreaterOrEqual", "C = (A >= B)", in_numbers, c, boolean, kernel<Relation::greater_or_equal>),
    row("And", "C = A and B", in_booleans, c, boolean, kernel<Relation::both>),
    row("Or", "C = A or B", in_booleans, c, boolean, kernel<Relation::either>),
    row("Xor", "C = either A or B", in_booleans, c, boolean, kernel<Relation::one>),
    row("Where", "output = X where condition, else Y", in_where, out_where, infer_by<where_output>,
        NaiveFunction<where>::kernel),
};

}  // namespace

std::span<const IngotOp> comparison_rows() { return rows; }

}  // namespace ingot::standard
