#include "ops/binding.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string_view>

#include "error.h"
#include "ingot.h"
#include "ops/dtype.h"
#include "ops/host.h"
#include "ops/numbers.h"

namespace ingot {
namespace {

constexpr std::string_view any = "...";
constexpr int64_t most_elements = int64_t{1} << 56;  // their bytes, and those of one dimension more, can be counted

// Counts dimensions of 0 as 1: strides are products of the others.
bool is_countable(const IngotTensor &tensor) {
  int64_t elements = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) {
    if (tensor.shape[i] < 0) return false;
    if (__builtin_mul_overflow(elements, std::max<int64_t>(1, tensor.shape[i]), &elements)) return false;
  }
  return elements <= most_elements;
}

bool is_empty(const IngotTensor &tensor) {
  return std::find(tensor.shape, tensor.shape + tensor.rank, 0) != tensor.shape + tensor.rank;
}

bool is_word(std::string_view part) {
  return !part.empty() && (std::isalpha(static_cast<unsigned char>(part[0])) || part[0] == '_');
}

template <typename Body>
void each_part(std::string_view shape, Body &&body) {
  while (!shape.empty()) {
    const size_t end = shape.find(' ');
    if (end != 0) body(shape.substr(0, end));
    if (end == shape.npos) return;
    shape.remove_prefix(end + 1);
  }
}

// "X:f32|bf16": its letter "X" and the words of its types; "X" alone: no words of its own.
struct TypeRule {
  std::string_view letter, words, attribute;

  explicit TypeRule(std::string_view type) {
    if (type.starts_with('=')) {
      attribute = type.substr(1);
    } else if (const size_t colon = type.find(':'); colon != type.npos) {
      letter = type.substr(0, colon);
      words = type.substr(colon + 1);
    } else if (type.find('|') == type.npos && dtype_from_name(type) == 0) {
      letter = type;
    } else {
      words = type;
    }
  }

  bool admits(int32_t dtype) const {
    if (words.empty()) return true;
    std::string_view rest = words;
    while (true) {
      const size_t end = rest.find('|');
      if (dtype_from_name(rest.substr(0, end)) == dtype) return true;
      if (end == rest.npos) return false;
      rest.remove_prefix(end + 1);
    }
  }
};

struct Words {
  std::vector<std::string_view> names;
  std::vector<int64_t> sizes;  // -1: not bound

  int64_t *find(std::string_view name) {
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == name) return &sizes[i];
    }
    return nullptr;
  }
  void declare(std::string_view name) {
    if (find(name)) return;
    names.push_back(name);
    sizes.push_back(-1);
  }
};

// Arithmetic over words and integer attributes: "(H+2*G)*K", "E/2".
class Arithmetic {
 public:
  Arithmetic(std::string_view text, const IngotNode &node, Words &words) : text_(text), node_(node), words_(words) {}

  int64_t value() {
    const int64_t value = sum();
    if (at_ != text_.size()) refuse("is no arithmetic over words");
    return value;
  }

 private:
  [[noreturn]] void refuse(const char *why) const {
    fail(INGOT_INVALID, "%s: the dimension %s of its row %s", node_.op->name, std::string(text_).c_str(), why);
  }
  char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  int64_t sum() {
    int64_t value = product();
    while (next() == '+' || next() == '-') {
      const bool plus = text_[at_++] == '+';
      const int64_t other = product();
      if (plus ? __builtin_add_overflow(value, other, &value) : __builtin_sub_overflow(value, other, &value))
        refuse("is too large for these inputs");
    }
    return value;
  }

  int64_t product() {
    int64_t value = factor();
    while (next() == '*' || next() == '/') {
      const bool times = text_[at_++] == '*';
      const int64_t other = factor();
      if (times) {
        if (__builtin_mul_overflow(value, other, &value)) refuse("is too large for these inputs");
      } else {
        if (other <= 0 || value % other) refuse("is no whole number for these inputs");
        value /= other;
      }
    }
    return value;
  }

  int64_t factor() {
    if (next() == '(') {
      ++at_;
      const int64_t value = sum();
      if (next() != ')') refuse("lacks a bracket");
      ++at_;
      return value;
    }
    size_t end = at_;
    while (end < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[end])) || text_[end] == '_')) ++end;
    const std::string_view name = text_.substr(at_, end - at_);
    at_ = end;
    if (name.empty()) refuse("is no arithmetic over words");
    if (!is_word(name)) return std::stoll(std::string(name));
    if (const int64_t *size = words_.find(name); size && *size >= 0) return *size;
    if (const NodeAttribute *attribute = node_.attribute(name)) return attribute->integer;
    refuse("is bound by no input and no attribute");
  }

  std::string_view text_;
  const IngotNode &node_;
  Words &words_;
  size_t at_ = 0;
};

using Letters = std::vector<std::pair<std::string_view, int32_t>>;

int32_t *find_letter(Letters &letters, std::string_view letter) {
  for (auto &[name, dtype] : letters) {
    if (name == letter) return &dtype;
  }
  return nullptr;
}

void bind_type(const IngotNode &node, const IngotArg &argument, const IngotTensor &tensor, Letters &letters) {
  const TypeRule rule(argument.type);
  if (!rule.admits(tensor.dtype)) {
    fail(INGOT_INVALID, "%s: %s is %s, the row takes %s", node.op->name, argument.name, dtype_name(tensor.dtype),
         argument.type);
  }
  if (rule.letter.empty()) return;
  if (const int32_t *bound = find_letter(letters, rule.letter)) {
    if (*bound != tensor.dtype) {
      fail(INGOT_INVALID, "%s: %s is %s, but inputs before it are %s; they must have one type", node.op->name,
           argument.name, dtype_name(tensor.dtype), dtype_name(*bound));
    }
  } else {
    letters.emplace_back(rule.letter, tensor.dtype);
  }
}

void bind_shape(const IngotNode &node, const IngotArg &argument, const IngotTensor &tensor, Words &words) {
  const std::string_view shape = argument.shape;
  if (shape.find(any) != shape.npos) return;
  int32_t place = 0;
  each_part(shape, [&](std::string_view part) {
    const int32_t i = place++;
    if (i >= tensor.rank) return;
    int64_t *bound = words.find(part);
    if (bound && *bound < 0) *bound = tensor.shape[i];
    const int64_t wanted = is_word(part) ? *bound : std::stoll(std::string(part));
    if (wanted != tensor.shape[i]) {
      fail(INGOT_INVALID, "%s: %s is [%s], the row says [%s], and %.*s is %lld", node.op->name, argument.name,
           dims_text(tensor).c_str(), argument.shape, static_cast<int>(part.size()), part.data(),
           static_cast<long long>(wanted));
    }
  });
  if (place != tensor.rank) {
    fail(INGOT_INVALID, "%s: %s is [%s], the row says [%s]", node.op->name, argument.name, dims_text(tensor).c_str(),
         argument.shape);
  }
}

void declare_words(const IngotOp &op, Words &words) {
  for (int32_t i = 0; i < op.n_in; ++i) {
    if (std::string_view(op.in[i].shape).find(any) != std::string_view::npos) continue;
    each_part(op.in[i].shape, [&](std::string_view part) {
      if (is_word(part)) words.declare(part);
    });
  }
}

// Whether the row's words say all about this output.
bool is_closed(const IngotArg &argument, Letters &letters) {
  const TypeRule rule(argument.type);
  if (std::string_view(argument.shape).find(any) != std::string_view::npos) return false;
  if (!rule.attribute.empty()) return true;
  if (!rule.letter.empty()) return find_letter(letters, rule.letter) != nullptr;
  return rule.words.find('|') == std::string_view::npos;
}

IngotTensor output_of(const IngotNode &node, const IngotArg &argument, Letters &letters, Words &words) {
  IngotTensor tensor{};
  const TypeRule rule(argument.type);
  if (!rule.attribute.empty()) {
    const NodeAttribute *attribute = node.attribute(rule.attribute);
    tensor.dtype = attribute ? static_cast<int32_t>(attribute->integer) : 0;
  } else {
    tensor.dtype = rule.letter.empty() ? dtype_from_name(rule.words) : *find_letter(letters, rule.letter);
  }
  each_part(argument.shape, [&](std::string_view part) {
    const int64_t size = Arithmetic(part, node, words).value();
    if (size < 0 || tensor.rank == INGOT_MAX_RANK) {
      fail(INGOT_INVALID, "%s: its output %s would have the dimension %.*s = %lld", node.op->name, argument.name,
           static_cast<int>(part.size()), part.data(), static_cast<long long>(size));
    }
    tensor.shape[tensor.rank++] = size;
  });
  return tensor;
}

void infer_natively(const IngotNode &node, IngotCtx *ctx, std::span<const IngotTensor> in, std::span<IngotTensor> out) {
  if (!node.op->infer)
    fail(INGOT_INVALID, "%s: its row says neither what its outputs are nor how to find out", node.op->name);
  HostState asked;  // errors stay here
  IngotCtx own = host_context(asked);
  if (ctx) {
    own.device = ctx->device;
    own.rank = ctx->rank;
    own.ranks = ctx->ranks;
  }
  if (node.op->infer(&node, &own, in.data(), static_cast<int32_t>(in.size()), out.data(),
                     static_cast<int32_t>(out.size()))) {
    fail(INGOT_INVALID, "%s: %s", node.op->name, asked.error.empty() ? "its inputs do not fit" : asked.error.c_str());
  }
}

}  // namespace

void infer(const IngotNode &node, IngotCtx *ctx, std::span<const IngotTensor> in, std::span<IngotTensor> out,
           std::vector<int64_t> *sizes) {
  const IngotOp &op = *node.op;
  Letters letters;
  Words words;
  declare_words(op, words);
  for (size_t i = 0; i < in.size(); ++i) {
    const IngotArg *argument = argument_at(op.in, op.n_in, i);
    if (!argument) fail(INGOT_INVALID, "%s takes %d inputs, %zu are given", op.name, op.n_in, in.size());
    if (in[i].dtype == 0) {
      if (!argument->optional) fail(INGOT_INVALID, "%s needs its input %s", op.name, argument->name);
      continue;
    }
    if (argument->role == INGOT_HOST && !in[i].data && !is_empty(in[i])) {
      fail(INGOT_INVALID, "%s: its input %s must be a constant", op.name, argument->name);
    }
    if (in[i].rank < 0 || in[i].rank > INGOT_MAX_RANK || !is_countable(in[i]))
      fail(INGOT_INVALID, "%s: its input %s has a negative or an absurd size", op.name, argument->name);
    bind_type(node, *argument, in[i], letters);
    bind_shape(node, *argument, in[i], words);
  }
  bool closed = true;
  for (size_t i = 0; i < out.size(); ++i) {
    const IngotArg *argument = argument_at(op.out, op.n_out, i);
    if (!argument) fail(INGOT_INVALID, "%s has %d outputs, %zu are given", op.name, op.n_out, out.size());
    closed = closed && is_closed(*argument, letters);
    out[i] = {};
  }
  if (closed && !op.infer) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = output_of(node, *argument_at(op.out, op.n_out, i), letters, words);
  } else {
    infer_natively(node, ctx, in, out);
  }
  for (IngotTensor &tensor : out) {
    if (!is_countable(tensor)) fail(INGOT_INVALID, "%s: an output would have a negative or an absurd size", op.name);
    set_strides(tensor);
  }
  for (size_t i = 0; i < out.size() && i < node.out_names.size(); ++i) {
    if (node.out_names[i] == "-") out[i] = {};
  }
  if (!sizes) return;
  sizes->clear();
  for (const int64_t size : words.sizes) sizes->push_back(size < 0 ? 0 : size);
}

std::string dims_text(const IngotTensor &tensor) {
  std::string text;
  for (int32_t i = 0; i < tensor.rank; ++i) {
    if (i) text += ',';
    text += std::to_string(tensor.shape[i]);
  }
  return text.empty() ? "scalar" : text;
}

void set_strides(IngotTensor &tensor) {
  uint64_t stride = 1;  // of sizes that nobody has judged yet it may wrap
  for (int32_t i = tensor.rank - 1; i >= 0; --i) {
    tensor.stride[i] = static_cast<int64_t>(stride);
    stride *= static_cast<uint64_t>(tensor.shape[i]);
  }
}

}  // namespace ingot
