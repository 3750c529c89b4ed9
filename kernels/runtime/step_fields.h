// The tensors that the runtime makes for a step, in one table. A graph lists those it uses; an unknown one is refused
// at load.
#pragma once
#include <cstdint>
#include <vector>

#include "ingot_engine.h"
#include "runtime/slot.h"
#include "runtime/step.h"

namespace ingot {

enum class FieldKind { ids, positions, sequences, rows, slots, starts, cached, pages, cells, embeddings };

// All are on the host, and int32 unless a row says otherwise. A name with {i} stands once for each cache group.
struct FieldRow {
  const char *name;
  const char *dims[2];  // "D": as wide as the engine says
  FieldKind kind;
  const char *meaning;
};

inline constexpr FieldRow field_rows[] = {
    {"ids_T", {"T"}, FieldKind::ids, "token ids"},
    {"positions_T", {"T"}, FieldKind::positions, "where in its sequence a token stands"},
    {"sequences_T", {"T"}, FieldKind::sequences, "which sequence of the step a token belongs to"},
    {"rows_N", {"N"}, FieldKind::rows, "tokens whose logits are wanted"},
    {"slots_S", {"S"}, FieldKind::slots, "slot of each sequence"},
    {"starts_S1", {"S+1"}, FieldKind::starts, "first token of each sequence in T, then T"},
    {"cached_S", {"S"}, FieldKind::cached, "tokens of each sequence in the cache before this step"},
    {"pages{i}_SM",
     {"S", "M"},
     FieldKind::pages,
     "page table: column p / W is the page of position p; 0 is the null page"},
    {"cells{i}_T", {"T"}, FieldKind::cells, "where a token's k and v are written: page * W + p % W"},
    {"embeddings_TD", {"T", "D"}, FieldKind::embeddings, "f32: vectors of the tokens whose id is -2"},
};

class StepFields {
 public:
  // Throws Error(INGOT_FOLDER) for a field that the table does not have, or has with another type or shape.
  StepFields(const IngotEngineSpec &spec, int32_t function, int32_t max_sequences);

  // Fills the fields; they, and the step's pointers, stay valid until the next call. `step` was applied to `slots`
  // before.
  IngotStep make(const StepView &step, const Slots &slots);

  // Words of 4 bytes that field i of the engine's may take, and whether they are floats.
  size_t words(size_t i) const { return fields_[i].values.size(); }
  bool floats(size_t i) const { return fields_[i].kind == FieldKind::embeddings; }

  int64_t bytes() const;
  // Numbers of a token's vector; 0: the engine reads ids only.
  int32_t embedding_width() const;

 private:
  struct Field {
    FieldKind kind;
    int32_t group;
    int32_t rank;
    int32_t width;                // of rank 2
    std::vector<int32_t> values;  // words of 4 bytes
    std::vector<uint64_t> rows;   // pages: which slot and version each row of the table shows
  };

  void fill(Field &field, const StepView &step, const Slots &slots);
  void fill_pages(Field &field, const StepView &step, const Slots &slots) const;
  void fill_cells(Field &field, const StepView &step, const Slots &slots) const;
  void fill_embeddings(Field &field, const StepView &step) const;

  int32_t function_, columns_;
  std::vector<int32_t> page_tokens_;  // W of each group
  std::vector<Field> fields_;
  std::vector<IngotTensor> tensors_;
  const IngotNamedTensor *named_ = nullptr;  // the engine's
};

}  // namespace ingot
