#include "runtime/step_fields.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "error.h"
#include "ingot.h"

namespace ingot {
namespace {

constexpr long widest = 1 << 20;  // numbers of a token's vector

std::string name_of(const FieldRow &row, int32_t group) {
  std::string name = row.name;
  if (const size_t place = name.find("{i}"); place != std::string::npos) name.replace(place, 3, std::to_string(group));
  return name;
}

int32_t rank_of(const FieldRow &row) { return row.dims[1] ? 2 : 1; }

int32_t dtype_of(const FieldRow &row) { return row.kind == FieldKind::embeddings ? INGOT_F32 : INGOT_I32; }

// D, where the engine says it; 0: it says no such number.
int32_t width_of(const IngotNamedTensor &wanted) {
  const char *word = wanted.rank == 2 ? wanted.dims[1] : nullptr;
  char *end = nullptr;
  const long width = word ? std::strtol(word, &end, 10) : 0;
  return word && *end == 0 && width > 0 && width <= widest ? static_cast<int32_t>(width) : 0;
}

bool fits(const FieldRow &row, const IngotNamedTensor &wanted) {
  if (wanted.dtype != dtype_of(row) || wanted.rank != rank_of(row)) return false;
  for (int32_t i = 0; i < wanted.rank; ++i) {
    const bool open = std::strcmp(row.dims[i], "D") == 0;
    if (!wanted.dims[i] || (open ? width_of(wanted) == 0 : std::strcmp(wanted.dims[i], row.dims[i]) != 0)) return false;
  }
  return true;
}

struct Found {
  const FieldRow *row = nullptr;
  int32_t group = 0;
};

Found find_row(const IngotNamedTensor &wanted, int32_t groups) {
  for (const FieldRow &row : field_rows) {
    const bool of_group = std::strstr(row.name, "{i}");
    for (int32_t group = 0; group < (of_group ? groups : 1); ++group) {
      if (name_of(row, group) == wanted.name) return {&row, group};
    }
  }
  return {};
}

std::string all_names() {
  std::string names;
  for (const FieldRow &row : field_rows) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

size_t capacity(FieldKind kind, const IngotEngineSpec &spec, int32_t max_sequences, int32_t width) {
  switch (kind) {
    case FieldKind::ids:
    case FieldKind::positions:
    case FieldKind::sequences:
    case FieldKind::cells:
      return static_cast<size_t>(spec.max_tokens);
    case FieldKind::rows:
      return static_cast<size_t>(spec.max_rows);
    case FieldKind::slots:
    case FieldKind::cached:
      return static_cast<size_t>(max_sequences);
    case FieldKind::starts:
      return static_cast<size_t>(max_sequences) + 1;
    case FieldKind::pages:
      return static_cast<size_t>(max_sequences) * static_cast<size_t>(spec.max_pages);
    case FieldKind::embeddings:
      return static_cast<size_t>(spec.max_tokens) * static_cast<size_t>(width);
  }
  return 0;
}

int64_t first_dim(FieldKind kind, const StepHeader &step) {
  switch (kind) {
    case FieldKind::rows:
      return step.N;
    case FieldKind::slots:
    case FieldKind::cached:
    case FieldKind::pages:
      return step.S;
    case FieldKind::starts:
      return step.S + 1;
    default:
      return step.T;
  }
}

// Calls body(t, s, position) for every token of the step.
template <typename Body>
void each_token(const StepView &step, Body &&body) {
  int32_t t = 0;
  for (int32_t s = 0; s < step.header->S; ++s) {
    for (int32_t i = 0; i < step.lengths_S[s]; ++i, ++t) body(t, s, step.cached_S[s] + i);
  }
}

}  // namespace

StepFields::StepFields(const IngotEngineSpec &spec, int32_t function, int32_t max_sequences)
    : function_(function), columns_(spec.max_pages) {
  for (int32_t g = 0; g < spec.n_groups; ++g) page_tokens_.push_back(spec.groups[g].page_tokens);
  const IngotFunction &wanted = spec.functions[function];
  for (int32_t i = 0; i < wanted.n_fields; ++i) {
    const IngotNamedTensor &field = wanted.fields[i];
    const Found found = find_row(field, spec.n_groups);
    if (!found.row) {
      fail(INGOT_FOLDER,
           "function '%.80s' of the engine reads the step field '%.80s', which this Ingot does not make (it makes %s); "
           "rebuild "
           "the engine with this version",
           wanted.name, field.name, all_names().c_str());
    }
    if (!fits(*found.row, field)) {
      fail(INGOT_FOLDER,
           "the engine reads the step field '%.80s' with another type or shape than i32 %s%s%s; rebuild the engine "
           "with this "
           "version",
           field.name, found.row->dims[0], found.row->dims[1] ? "," : "", found.row->dims[1] ? found.row->dims[1] : "");
    }
    const int32_t width = found.row->kind == FieldKind::embeddings ? width_of(field) : columns_;
    Field made{found.row->kind, found.group, field.rank, width, {}, {}};
    made.values.assign(std::max<size_t>(1, capacity(made.kind, spec, max_sequences, width)), 0);
    if (made.kind == FieldKind::pages) made.rows.assign(2 * static_cast<size_t>(max_sequences), 0);
    fields_.push_back(std::move(made));
  }
  tensors_.resize(fields_.size());
  named_ = wanted.fields;
}

IngotStep StepFields::make(const StepView &step, const Slots &slots) {
  for (size_t i = 0; i < fields_.size(); ++i) {
    Field &field = fields_[i];
    fill(field, step, slots);
    const int32_t dtype = field.kind == FieldKind::embeddings ? INGOT_F32 : INGOT_I32;
    IngotTensor tensor{field.values.data(), {first_dim(field.kind, *step.header)}, {1}, dtype, field.rank};
    if (field.rank == 2) {
      tensor.shape[1] = tensor.stride[0] = field.width;
      tensor.stride[1] = 1;
    }
    tensors_[i] = tensor;
  }
  const StepHeader &header = *step.header;
  return {sizeof(IngotStep),
          function_,
          header.id,
          header.T,
          header.S,
          header.N,
          header.Q,
          step.bytes,
          step.n_bytes,
          tensors_.data(),
          static_cast<int32_t>(tensors_.size()),
          named_,
          nullptr};
}

void StepFields::fill(Field &field, const StepView &step, const Slots &slots) {
  int32_t *values = field.values.data();
  switch (field.kind) {
    case FieldKind::ids:
      each_token(step, [&](int32_t t, int32_t s, int32_t) {
        values[t] = step.ids_T[t] == last_token_of_slot ? slots.last_token(step.slots_S[s]) : step.ids_T[t];
      });
      break;
    case FieldKind::positions:
      each_token(step, [&](int32_t t, int32_t, int32_t position) { values[t] = position; });
      break;
    case FieldKind::sequences:
      each_token(step, [&](int32_t t, int32_t s, int32_t) { values[t] = s; });
      break;
    case FieldKind::rows:
      std::copy(step.rows_N.begin(), step.rows_N.end(), values);
      break;
    case FieldKind::slots:
      std::copy(step.slots_S.begin(), step.slots_S.end(), values);
      break;
    case FieldKind::cached:
      std::copy(step.cached_S.begin(), step.cached_S.end(), values);
      break;
    case FieldKind::starts:
      values[0] = 0;
      for (int32_t s = 0; s < step.header->S; ++s) values[s + 1] = values[s] + step.lengths_S[s];
      break;
    case FieldKind::pages:
      fill_pages(field, step, slots);
      break;
    case FieldKind::cells:
      fill_cells(field, step, slots);
      break;
    case FieldKind::embeddings:
      fill_embeddings(field, step);
      break;
  }
}

// Copies only the rows that changed since the last step: in steady decoding none.
void StepFields::fill_pages(Field &field, const StepView &step, const Slots &slots) const {
  for (int32_t s = 0; s < step.header->S; ++s) {
    const int32_t slot = step.slots_S[s];
    uint64_t *shown = &field.rows[2 * static_cast<size_t>(s)];
    if (shown[0] == static_cast<uint64_t>(slot) && shown[1] == slots.version(slot)) continue;
    std::copy_n(slots.pages(field.group, slot), columns_, field.values.data() + int64_t{s} * columns_);
    shown[0] = static_cast<uint64_t>(slot);
    shown[1] = slots.version(slot);
  }
}

void StepFields::fill_cells(Field &field, const StepView &step, const Slots &slots) const {
  const int32_t tokens = page_tokens_[field.group];
  each_token(step, [&](int32_t t, int32_t s, int32_t position) {
    if (position / tokens >= columns_)
      fail(INGOT_FAILED, "a step message reaches position %d, beyond the page table", position);
    const int32_t page = slots.pages(field.group, step.slots_S[s])[position / tokens];
    field.values[t] = page * tokens + position % tokens;
  });
}

// Rows of other tokens stay as they are: the engine reads them not.
void StepFields::fill_embeddings(Field &field, const StepView &step) const {
  if (step.header->n_embeddings && step.header->embedding_width != field.width) {
    fail(INGOT_FAILED, "a step message has vectors of %d numbers, the engine reads %d", step.header->embedding_width,
         field.width);
  }
  const auto width = static_cast<size_t>(field.width);
  const float *vector = step.embeddings.data();
  for (size_t t = 0; t < step.ids_T.size(); ++t) {
    if (step.ids_T[t] != embedded_token) continue;
    std::memcpy(field.values.data() + t * width, vector, width * sizeof(float));
    vector += width;
  }
}

int32_t StepFields::embedding_width() const {
  for (const Field &field : fields_) {
    if (field.kind == FieldKind::embeddings) return field.width;
  }
  return 0;
}

int64_t StepFields::bytes() const {
  size_t bytes = 0;
  for (const Field &field : fields_)
    bytes += field.values.size() * sizeof(int32_t) + field.rows.size() * sizeof(uint64_t);
  return static_cast<int64_t>(bytes);
}

}  // namespace ingot
