#include "ops/node.h"

#include <charconv>
#include <cmath>

#include "error.h"
#include "ingot.h"
#include "ops/dtype.h"
#include "split.h"

namespace ingot {
namespace {

constexpr size_t shown = 200;  // characters of the caller's text in a sentence

int width(std::string_view text) { return static_cast<int>(std::min(text.size(), shown)); }

template <typename Number>
Number number_of(std::string_view text, const IngotAttr &row) {
  Number number{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || end != text.data() + text.size()) {
    fail(INGOT_INVALID, "attribute %s: '%.*s' is no number of kind %s", row.name, width(text), text.data(), row.type);
  }
  return number;
}

std::string decoded(std::string_view text, const IngotAttr &row) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned code = 0;
    const auto *first = text.data() + i + 1;
    if (i + 2 >= text.size() || std::from_chars(first, first + 2, code, 16).ptr != first + 2) {
      fail(INGOT_INVALID, "attribute %s: '%.*s' has a %% without two hexadecimal digits", row.name, width(text),
           text.data());
    }
    decoded += static_cast<char>(code);
    i += 2;
  }
  return decoded;
}

char letter_of(std::string_view type) {
  if (type == "ints") return 'I';
  if (type == "floats") return 'F';
  return type.empty() ? '?' : type[0];  // int float string dtype
}

// `text` without its letter.
void fill(NodeAttribute &attribute, std::string_view text) {
  const IngotAttr &row = *attribute.row;
  switch (letter_of(row.type)) {
    case 'i':
      attribute.integer = number_of<int64_t>(text, row);
      return;
    case 'f':
      attribute.number = number_of<double>(text, row);
      return;
    case 's':
      attribute.text = decoded(text, row);
      return;
    case 'I':
      for (const std::string_view part : split(text, ',')) attribute.integers.push_back(number_of<int64_t>(part, row));
      return;
    case 'F':
      for (const std::string_view part : split(text, ',')) attribute.numbers.push_back(number_of<double>(part, row));
      return;
    case 'd':
      attribute.integer = dtype_from_name(text);
      if (attribute.integer == 0 && !text.empty()) {
        fail(INGOT_INVALID, "attribute %s: '%.*s' is no element type", row.name, width(text), text.data());
      }
      return;
    default:
      fail(INGOT_INVALID, "attribute %s is of the kind '%s', which does not exist", row.name, row.type);
  }
}

std::string known_attributes(const IngotOp &op) {
  std::string names;
  for (int32_t i = 0; i < op.n_attrs; ++i) names += (i ? ", " : "") + std::string(op.attrs[i].name);
  return names.empty() ? "none" : names;
}

void read_attribute(IngotNode &node, std::string_view word, std::vector<bool> &given) {
  const size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  for (size_t i = 0; i < node.attributes.size(); ++i) {
    NodeAttribute &attribute = node.attributes[i];
    if (key != attribute.row->name) continue;
    if (given[i]) fail(INGOT_INVALID, "attribute %s is given twice", attribute.row->name);
    given[i] = true;
    const std::string_view value = equals == word.npos ? std::string_view() : word.substr(equals + 1);
    if (value.size() < 2 || value[0] != letter_of(attribute.row->type) || value[1] != ':') {
      fail(INGOT_INVALID, "attribute %s must be written %s=%c:…, '%.*s' was found", attribute.row->name,
           attribute.row->name, letter_of(attribute.row->type), width(value), value.data());
    }
    return fill(attribute, value.substr(2));
  }
  fail(INGOT_INVALID, "%s has no attribute '%.*s' (it has: %s)", node.op->name, width(key), key.data(),
       known_attributes(*node.op).c_str());
}

std::vector<std::string> names_of(std::string_view word, std::string_view key) {
  if (!word.starts_with(key)) fail(INGOT_INVALID, "a node is written 'op NAME DOMAIN::OP in=… out=… key=…'");
  std::vector<std::string> names;
  for (const std::string_view name : split(word.substr(key.size()), ',')) names.emplace_back(name);
  return names;
}

void check_counts(const IngotNode &node) {
  const IngotOp &op = *node.op;
  for (size_t i = 0; i < node.in_names.size(); ++i) {
    const IngotArg *argument = argument_at(op.in, op.n_in, i);
    if (!argument) fail(INGOT_INVALID, "%s takes %d inputs, %zu are given", op.name, op.n_in, node.in_names.size());
    if (node.in_names[i] == "-" && !argument->optional)
      fail(INGOT_INVALID, "%s needs its input %s", op.name, argument->name);
  }
  for (size_t i = node.in_names.size(); i < static_cast<size_t>(op.n_in); ++i) {
    if (!op.in[i].optional) fail(INGOT_INVALID, "%s needs its input %s", op.name, op.in[i].name);
  }
  if (node.out_names.empty() && op.n_out > 0) fail(INGOT_INVALID, "%s needs its output %s", op.name, op.out[0].name);
  for (size_t i = 0; i < node.out_names.size(); ++i) {
    if (!argument_at(op.out, op.n_out, i))
      fail(INGOT_INVALID, "%s has %d outputs, %zu are given", op.name, op.n_out, node.out_names.size());
  }
}

}  // namespace

IngotNode parse_node(std::string_view line, const OpTable &table) {
  const std::vector<std::string_view> words = split(line, ' ');
  const size_t colons = words.size() > 4 ? words[2].find("::") : line.npos;
  if (colons == line.npos || words[0] != "op")
    fail(INGOT_INVALID, "a node is written 'op NAME DOMAIN::OP in=… out=… key=…'");
  const std::string_view domain = words[2].substr(0, colons);
  const std::string_view name = words[2].substr(colons + 2, words[2].rfind('@') - colons - 2);
  IngotNode node;
  node.op = table.find(domain, name);
  if (!node.op) {
    fail(INGOT_INVALID, "there is no op %.*s::%.*s in this engine", width(domain), domain.data(), width(name),
         name.data());
  }
  node.name = words[1];
  node.in_names = names_of(words[3], "in=");
  node.out_names = names_of(words[4], "out=");
  check_counts(node);
  for (int32_t i = 0; i < node.op->n_attrs; ++i) node.attributes.emplace_back().row = &node.op->attrs[i];
  std::vector<bool> given(node.attributes.size(), false);
  for (size_t i = 5; i < words.size(); ++i) read_attribute(node, words[i], given);
  for (size_t i = 0; i < node.attributes.size(); ++i) {
    if (given[i]) continue;
    const IngotAttr &row = *node.attributes[i].row;
    if (!row.def) fail(INGOT_INVALID, "%s needs the attribute %s", node.op->name, row.name);
    fill(node.attributes[i], row.def);
  }
  return node;
}

}  // namespace ingot

const ingot::NodeAttribute *IngotNode::attribute(std::string_view wanted) const {
  for (const ingot::NodeAttribute &found : attributes) {
    if (wanted == found.row->name) return &found;
  }
  return nullptr;
}
