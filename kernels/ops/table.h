// All op rows that an engine knows: the built-in ones and those of op libraries.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "ingot_op.h"

namespace ingot {

class OpTable {
 public:
  OpTable();  // the built-in rows

  // Opens the library, once and for the whole process, and adds its rows.
  // Throws Error(INGOT_MACHINE) when it cannot be opened or serves another ABI, Error(INGOT_FOLDER) when a row is not
  // complete or has the name of another.
  void add_library(const std::string &path);

  // NULL: there is no such op. "ai.onnx" is the domain "".
  const IngotOp *find(std::string_view domain, std::string_view name) const;

  const std::vector<const IngotOp *> &rows() const { return rows_; }

 private:
  std::vector<const IngotOp *> rows_;  // sorted by domain and name
  void add(const IngotOp *row, const std::string &from);
};

// The row's argument at place i; the last one repeats if it is variadic. NULL beyond the row.
const IngotArg *argument_at(const IngotArg *arguments, int32_t count, size_t i);

}  // namespace ingot
