#include "engines/plan.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "engines/made_weight.h"
#include "engines/plan_line.h"
#include "error.h"
#include "files/mapped_file.h"
#include "ingot.h"
#include "ingot_op.h"
#include "ops/dtype.h"

namespace ingot {
namespace {

constexpr int64_t largest_bytes = int64_t{1} << 46;
// What is looked for one by one stays short.
constexpr size_t most_groups = 64, most_functions = 64, most_outputs = 256, most_fields = 256, most_arguments = 1024;

// Reads the lines in order; what an op names is resolved when its function ends, since its outputs may be declared
// after it.
class PlanParser {
 public:
  PlanParser(std::string_view text, const std::string &path, PlanPart part) : text_(text), path_(path), part_(part) {}

  Plan parse() {
    PlanLine line = next_line();
    if (line.word(0) != "ingot-plan") line.refuse("a plan begins with 'ingot-plan 1'; rebuild the engine");
    if (line.count() != 2 || line.word(1) != "1")
      line.refuse("this Ingot reads plans of version 1; rebuild the engine with it");
    while (true) {
      line = next_line();
      if (line.word(0) == "end") break;
      dispatch(line);
    }
    line.expect(1);
    finish_function(line);
    finish(line);
    while (at_ < text_.size()) {
      if (text_[at_] != '#') line.refuse("nothing but comments may follow the line 'end'");
      at_ = text_.find('\n', at_);
      if (at_ == text_.npos) break;
      ++at_;
    }
    return std::move(plan_);
  }

 private:
  struct Claim {
    int32_t value, first, last;
    PlanLine line;
  };
  struct PendingOp {
    PlanLine line;
    std::vector<std::string_view> in, out;
  };

  PlanLine next_line() {
    while (true) {
      const size_t end = text_.find('\n', at_);
      ++number_;
      if (end == text_.npos) {
        fail(INGOT_FOLDER, "%s:%d: the plan ends without the line 'end': the file is cut; copy it again", path_.c_str(),
             number_);
      }
      const std::string_view line = text_.substr(at_, end - at_);
      at_ = end + 1;
      if (!line.empty() && line[0] == '#') continue;
      return PlanLine(line, path_, number_);
    }
  }

  void dispatch(const PlanLine &line) {
    const std::string_view verb = line.word(0);
    if (verb == "max") return read_max(line);
    if (verb == "vocab") return read_vocab(line);
    if (verb == "group") return read_group(line);
    if (verb == "state") return read_state(line);
    if (verb == "function") return read_function(line);
    if (verb == "field") return read_field(line);
    static constexpr std::string_view others[] = {"library", "weight", "const", "value", "op", "output"};
    bool known = false;
    for (const std::string_view other : others) known = known || verb == other;
    if (!known) line.refuse("unknown kind of line; rebuild the engine with this version of Ingot");
    if (part_ == PlanPart::facts) return;
    if (verb == "library") return read_library(line);
    if (verb == "weight") return read_weight(line);
    if (verb == "const") return read_constant(line);
    if (verb == "value") return read_value(line);
    if (verb == "op") return read_op(line);
    read_output(line);
  }

  void read_max(const PlanLine &line) {
    if (plan_.max.T) line.refuse("a second 'max' line");
    line.expect(7);
    plan_.max.T = line.pair_integer(1, "T", 1, 1 << 24);
    plan_.max.S = line.pair_integer(2, "S", 1, 1 << 20);
    plan_.max.N = line.pair_integer(3, "N", 1, 1 << 24);
    plan_.max.Q = line.pair_integer(4, "Q", 1, 1 << 24);
    plan_.max.M = line.pair_integer(5, "M", 0, 1 << 24);
    plan_.max_length = static_cast<int32_t>(line.pair_integer(6, "L", 1, 1 << 28));
  }

  void read_vocab(const PlanLine &line) {
    line.expect(2);
    plan_.vocab = static_cast<int32_t>(line.integer(line.word(1), 1, 1 << 28));
  }

  void read_library(const PlanLine &line) {
    line.expect(2);
    plan_.libraries.emplace_back(line.word(1));
  }

  void read_group(const PlanLine &line) {
    line.expect(6);
    PlanGroup group;
    group.name = line.name(1);
    group.kind = line.pair(2, "kind");
    if (group.kind != "paged" && group.kind != "window" && group.kind != "state")
      line.refuse("kind is paged, window or state");
    group.page_tokens = static_cast<int32_t>(line.pair_integer(3, "page", group.kind == "state" ? 0 : 1, 1 << 20));
    group.window = static_cast<int32_t>(line.pair_integer(4, "window", group.kind == "window" ? 1 : 0, INT32_MAX));
    group.sharded = line.pair_integer(5, "sharded", 0, 1) == 1;
    for (const PlanGroup &other : plan_.groups) {
      if (other.name == group.name) line.refuse("a second group of this name");
    }
    if (plan_.groups.size() == most_groups) line.refuse("more than %zu groups", most_groups);
    plan_.groups.push_back(std::move(group));
  }

  void read_state(const PlanLine &line) {
    line.expect(5);
    PlanValue value = declare(line, PlanRole::state);
    const std::string_view group = line.pair(2, "group");
    for (size_t i = 0; i < plan_.groups.size(); ++i) {
      if (plan_.groups[i].name == group) value.group = static_cast<int32_t>(i);
    }
    if (value.group < 0) line.refuse("its group is not declared above");
    value.dtype = line.dtype(line.pair(3, "dtype"));
    value.dims = line.dims(line.pair(4, "dims"));
    LinearForm first;
    PlanGroup &owner = plan_.groups[value.group];
    (owner.kind == "state" ? first.factor.S : first.factor.P) = 1;
    if (value.dims.empty() || !(value.dims[0] == first)) {
      line.refuse(owner.kind == "state" ? "its first dimension must be S" : "its first dimension must be P");
    }
    for (size_t i = 1; i < value.dims.size(); ++i) {
      if (!value.dims[i].constant_only()) line.refuse("its dimensions after the first must be numbers");
    }
    owner.states.push_back(add(line, std::move(value), globals_));
  }

  void read_weight(const PlanLine &line) {
    PlanValue value = declare(line, PlanRole::weight);
    value.dtype = line.dtype(line.word(2));
    value.dims = line.dims(line.word(3));
    for (const LinearForm &dim : value.dims) {
      if (!dim.constant_only()) line.refuse("the dimensions of a weight must be numbers");
    }
    value.made = read_made_weight(line, value.dtype, value.dims);
    add(line, std::move(value), globals_);
  }

  void read_constant(const PlanLine &line) {
    line.expect(5);
    PlanValue value = declare(line, PlanRole::constant);
    value.dtype = line.dtype(line.word(2));
    const bool scalar = line.word(3) == "scalar";
    const int64_t count = scalar ? 1 : line.integer(line.word(3), 0, 1 << 20);
    if (value.dtype != INGOT_I64 && value.dtype != INGOT_I32) line.refuse("constants are i64 or i32");
    if (count > 0 || line.word(4) != "-") value.integers = line.integers(line.word(4));
    for (const int64_t number : value.integers) {
      if (value.dtype == INGOT_I32 && number != static_cast<int32_t>(number)) line.refuse("a value is no i32");
    }
    if (static_cast<int64_t>(value.integers.size()) != count)
      line.refuse("as many values must stand here as the count says");
    if (!scalar) value.dims = {LinearForm{count, {}}};
    add(line, std::move(value), globals_);
  }

  void read_function(const PlanLine &line) {
    line.expect(2);
    finish_function(line);
    for (const PlanFunction &other : plan_.functions) {
      if (other.name == line.word(1)) line.refuse("a second function of this name");
    }
    if (plan_.functions.size() == most_functions) line.refuse("more than %zu functions", most_functions);
    plan_.functions.emplace_back();
    plan_.functions.back().name = line.name(1);
  }

  void read_field(const PlanLine &line) {
    line.expect(4);
    PlanValue value = declare(line, PlanRole::field);
    value.dtype = line.dtype(line.word(2));
    value.dims = line.dims(line.word(3));
    PlanFunction &owner = function(line);
    if (owner.fields.size() == most_fields) line.refuse("more than %zu fields", most_fields);
    owner.fields.push_back(add(line, std::move(value), locals_));
  }

  void read_value(const PlanLine &line) {
    line.expect(5);
    function(line);
    PlanValue value = declare(line, PlanRole::activation);
    value.dtype = line.dtype(line.word(2));
    value.dims = line.dims(line.word(3));
    const std::string_view life = line.pair(4, "life");
    const size_t colon = life.find(':');
    if (colon == life.npos) line.refuse("a life is two numbers, first:last");
    const auto first = static_cast<int32_t>(line.integer(life.substr(0, colon), 0, 1 << 24));
    const auto last = static_cast<int32_t>(line.integer(life.substr(colon + 1), first, 1 << 24));
    claims_.push_back({add(line, std::move(value), locals_), first, last, line});
  }

  void read_op(const PlanLine &line) {
    function(line);
    const std::string_view op = line.word(2);
    const size_t mark = op.rfind('@');
    if (op.find("::") == op.npos || mark == op.npos) line.refuse("an op is written DOMAIN::OP@VERSION");
    line.integer(op.substr(mark + 1), 1, 1 << 20);
    PendingOp pending{line, split(line.pair(3, "in"), ','), split(line.pair(4, "out"), ',')};
    if (std::max(pending.in.size(), pending.out.size()) > most_arguments)
      line.refuse("more than %zu inputs or outputs", most_arguments);
    pending_.push_back(std::move(pending));
  }

  void read_output(const PlanLine &line) {
    line.expect(4);
    PlanFunction &owner = function(line);
    if (owner.outputs.size() == most_outputs) line.refuse("more than %zu outputs", most_outputs);
    PlanValue value = declare(line, PlanRole::activation);
    value.dtype = line.dtype(line.word(2));
    value.dims = line.dims(line.word(3));
    if (const auto found = locals_.find(line.word(1)); found != locals_.end()) {
      const PlanValue &known = plan_.values[found->second];
      if (known.role != PlanRole::activation || known.dtype != value.dtype || known.dims != value.dims) {
        line.refuse("an output must be a value of the same type and dimensions");
      }
      for (const int32_t output : owner.outputs) {
        if (output == found->second) line.refuse("named as an output twice");
      }
      owner.outputs.push_back(found->second);
    } else {
      owner.outputs.push_back(add(line, std::move(value), locals_));
    }
  }

  PlanFunction &function(const PlanLine &line) {
    if (plan_.functions.empty()) line.refuse("this line must follow a line 'function NAME'");
    return plan_.functions.back();
  }

  PlanValue declare(const PlanLine &line, PlanRole role) {
    PlanValue value;
    value.name = line.name(1);
    value.role = role;
    return value;
  }

  using Scope = std::unordered_map<std::string_view, int32_t>;

  int32_t add(const PlanLine &line, PlanValue value, Scope &scope) {
    if (globals_.contains(line.word(1)) || locals_.contains(line.word(1)))
      line.refuse("a second declaration of this name");
    const auto index = static_cast<int32_t>(plan_.values.size());
    plan_.values.push_back(std::move(value));
    scope.emplace(line.word(1), index);
    return index;
  }

  int32_t find(const PlanLine &line, std::string_view name) {
    if (name == "-") return -1;
    if (const auto found = locals_.find(name); found != locals_.end()) return found->second;
    if (const auto found = globals_.find(name); found != globals_.end()) return found->second;
    line.refuse("it names '%.*s', which is not declared", static_cast<int>(std::min<size_t>(name.size(), 200)),
                name.data());
  }

  void finish_function(const PlanLine &line) {
    if (plan_.functions.empty() || part_ == PlanPart::facts) return;
    PlanFunction &owner = plan_.functions.back();
    for (const PendingOp &pending : pending_)
      owner.ops.push_back(resolve(pending, static_cast<int32_t>(owner.ops.size())));
    const auto end = static_cast<int32_t>(owner.ops.size());
    for (const int32_t output : owner.outputs) {
      PlanValue &value = plan_.values[output];
      if (value.first < 0) line.refuse("output '%.200s' above is written by no op", value.name.c_str());
      value.last = end;
    }
    for (const Claim &claim : claims_) {
      const PlanValue &value = plan_.values[claim.value];
      if (value.first < 0) claim.line.refuse("no op writes this value");
      const bool output = value.last == end;
      if (claim.first != value.first || claim.last > end || (!output && claim.last < value.last)) {
        claim.line.refuse("ops %d to %d touch it, its life says otherwise", value.first, value.last);
      }
    }
    if (owner.outputs.empty()) line.refuse("function '%.200s' above has no output", owner.name.c_str());
    pending_.clear();
    claims_.clear();
    locals_.clear();
  }

  PlanOp resolve(const PendingOp &pending, int32_t index) {
    const PlanLine &line = pending.line;
    PlanOp op;
    op.name = line.name(1);
    op.line = line.text();
    op.line_number = line.number();
    for (const std::string_view name : pending.in) {
      op.in.push_back(find(line, name));
      if (op.in.back() < 0) continue;
      PlanValue &value = plan_.values[op.in.back()];
      if (value.role != PlanRole::activation) continue;
      if (value.first < 0) line.refuse("it reads '%.200s' before any op has written it", value.name.c_str());
      value.last = index;
    }
    for (const std::string_view name : pending.out) {
      op.out.push_back(find(line, name));
      if (op.out.back() < 0) continue;
      PlanValue &value = plan_.values[op.out.back()];
      if (value.role == PlanRole::state) {
        if (std::find(op.in.begin(), op.in.end(), op.out.back()) == op.in.end())
          line.refuse("it writes a state that it does not read");
        continue;
      }
      if (value.role != PlanRole::activation)
        line.refuse("it writes '%.200s', which is not a value", value.name.c_str());
      if (value.first >= 0) line.refuse("it writes '%.200s', which is written already", value.name.c_str());
      value.first = value.last = index;
    }
    return op;
  }

  void finish(const PlanLine &line) {
    if (plan_.max.T == 0) line.refuse("the plan has no line 'max'");
    if (plan_.vocab == 0) line.refuse("the plan has no line 'vocab'");
    if (plan_.functions.empty()) line.refuse("the plan has no function");
    for (const PlanGroup &group : plan_.groups) {
      if (group.states.empty()) line.refuse("group '%.200s' has no state", group.name.c_str());
    }
    for (const PlanValue &value : plan_.values) {
      if (bytes_of(value, plan_.max) < 0) line.refuse("'%.200s' has a negative or an absurd size", value.name.c_str());
    }
  }

  std::string_view text_;
  const std::string &path_;
  PlanPart part_;
  size_t at_ = 0;
  int32_t number_ = 0;
  Plan plan_;
  Scope globals_, locals_;
  std::vector<Claim> claims_;
  std::vector<PendingOp> pending_;
};

}  // namespace

Plan parse_plan(std::string_view text, const std::string &path, PlanPart part) {
  return PlanParser(text, path, part).parse();
}

Plan read_plan(const std::string &path, PlanPart part) {
  const MappedFile file(path);
  if (file.size() > size_t{1} << 30)
    fail(INGOT_FOLDER, "%s has %zu bytes: no plan is that long", path.c_str(), file.size());
  return parse_plan(file.text(), path, part);
}

int64_t bytes_of(const PlanValue &value, const StepSizes &sizes) {
  int64_t elements = 1;
  bool empty = false;
  for (const LinearForm &dim : value.dims) {
    const int64_t size = dim.evaluate(sizes);
    if (size < 0) return -1;
    if (size == 0)
      empty = true;
    else if (__builtin_mul_overflow(elements, size, &elements) || elements > largest_bytes)
      return -1;
  }
  return empty ? 0 : bytes_of_elements(value.dtype, elements);
}

}  // namespace ingot
