#include "ops/table.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "error.h"
#include "ingot.h"
#include "ops/rows.h"

namespace ingot {
namespace {

constexpr const char *symbol = "ingot_ops_v1";

bool before(const IngotOp *a, const IngotOp *b) {
  const int order = std::string_view(a->domain).compare(b->domain);
  return order ? order < 0 : std::string_view(a->name) < b->name;
}

// Why a stranger's row cannot be used, or NULL.
const char *fault(const IngotOp &row) {
  if (!row.domain || !row.name || !row.doc) return "has no domain, name or doc";
  if (row.version < 1) return "has no version";
  if (row.n_in < 0 || row.n_out < 1 || row.n_attrs < 0 || row.n_kernels < 0)
    return "has a negative count, or no output";
  if ((row.n_in && !row.in) || !row.out || (row.n_attrs && !row.attrs) || (row.n_kernels && !row.kernels)) {
    return "leaves out arguments, attributes or kernels that it counts";
  }
  for (const auto &arguments : {std::span(row.in, row.n_in), std::span(row.out, row.n_out)}) {
    for (const IngotArg &argument : arguments) {
      if (!argument.name || !argument.shape || !argument.type) return "has an argument without name, shape or type";
      if (argument.alias >= row.n_in) return "has an output that takes over an input it does not have";
    }
  }
  for (const IngotAttr &attribute : std::span(row.attrs, row.n_attrs)) {
    if (!attribute.name || !attribute.type) return "has an attribute without name or type";
  }
  for (const IngotKernel &kernel : std::span(row.kernels, row.n_kernels)) {
    if (!kernel.name || !kernel.enqueue) return "has a kernel without name or enqueue";
  }
  return nullptr;
}

}  // namespace

OpTable::OpTable() {
  for (const std::span<const IngotOp> family :
       {linear_rows(), grouped_linear_rows(), quantize_rows(), norm_rows(), gate_rows(), rotate_rows(),
        paged_attention_rows(), rotary_paged_attention_rows(), collective_rows(), standard_rows()}) {
    for (const IngotOp &row : family) add(&row, "the built-in rows");
  }
}

void OpTable::add(const IngotOp *row, const std::string &from) {
  if (const char *why = fault(*row)) {
    fail(INGOT_FOLDER, "%s: the op row '%s' %s", from.c_str(), row->name ? row->name : "(unnamed)", why);
  }
  const auto place = std::lower_bound(rows_.begin(), rows_.end(), row, before);
  if (place != rows_.end() && !before(row, *place)) {
    fail(INGOT_FOLDER, "%s: the op %s::%s is there already; an op library gives its ops a domain of their own",
         from.c_str(), row->domain, row->name);
  }
  rows_.insert(place, row);
}

void OpTable::add_library(const std::string &path) {
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    fail(INGOT_MACHINE,
         "the op library cannot be opened: %.1000s; install the package it came from, or build the engine again",
         dlerror());
  }
  const auto entry = reinterpret_cast<decltype(&ingot_ops_v1)>(dlsym(handle, symbol));
  if (!entry) fail(INGOT_MACHINE, "%.1000s does not export %s, so it is no op library", path.c_str(), symbol);
  int32_t count = 0;
  const IngotOp *rows = entry(INGOT_OP_ABI, &count);
  if (!rows || count < 0) {
    fail(INGOT_MACHINE, "%.1000s does not serve op interface %d of this Ingot; install a version that does",
         path.c_str(), INGOT_OP_ABI);
  }
  const auto *place = reinterpret_cast<const unsigned char *>(rows);  // rows of a newer library may be longer
  for (int32_t i = 0; i < count; ++i) {
    const auto *row = reinterpret_cast<const IngotOp *>(place);
    if (row->size < sizeof(IngotOp))
      fail(INGOT_MACHINE, "%.1000s: row %d is shorter than interface %d asks", path.c_str(), i, INGOT_OP_ABI);
    add(row, path);
    place += row->size;
  }
}

const IngotOp *OpTable::find(std::string_view domain, std::string_view name) const {
  if (domain == "ai.onnx") domain = "";
  const auto place = std::lower_bound(rows_.begin(), rows_.end(), 0, [&](const IngotOp *row, int) {
    const int order = std::string_view(row->domain).compare(domain);
    return order ? order < 0 : std::string_view(row->name) < name;
  });
  return place != rows_.end() && (*place)->domain == domain && (*place)->name == name ? *place : nullptr;
}

const IngotArg *argument_at(const IngotArg *arguments, int32_t count, size_t i) {
  if (i < static_cast<size_t>(count)) return &arguments[i];
  return count > 0 && arguments[count - 1].variadic ? &arguments[count - 1] : nullptr;
}

}  // namespace ingot
