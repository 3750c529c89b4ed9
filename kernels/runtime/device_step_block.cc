// The half of DeviceSteps that packs a step: its numbers in a block of the ring, padding included, and the fields as
// the engine sees them.
#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

#include "runtime/device_steps.h"

namespace ingot {
namespace {

// Sizes to which steps of one token a sequence are padded.
constexpr int32_t buckets[] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256};

size_t words_of(const IngotTensor &tensor) {
  size_t words = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) words *= static_cast<size_t>(tensor.shape[i]);
  return words;
}

}  // namespace

int32_t DeviceSteps::bucket(int32_t sequences) const {
  const int32_t most = std::min({max_sequences_, host_.spec.max_tokens, host_.spec.max_rows});
  for (const int32_t size : buckets) {
    if (size >= sequences) return std::min(size, most);
  }
  return std::min((sequences + 63) / 64 * 64, most);
}

// The step's sizes; of one token a sequence whose rows are all wanted, the next larger that is captured.
DeviceSteps::Sizes DeviceSteps::padded(const StepView &step) const {
  const StepHeader &header = *step.header;
  Sizes sizes{header.T, header.S, header.N, header.Q};
  const bool decodes = header.Q == 1 && header.T == header.S && header.N == header.S && header.n_embeddings == 0;
  if (host_.graphs && decodes) sizes.T = sizes.S = sizes.N = bucket(header.S);
  return sizes;
}

// Elements of a field in a step of these sizes.
size_t DeviceSteps::count_of(size_t field, const Sizes &sizes) const {
  size_t count = 1;
  for (const IngotNamedTensor &named = host_.spec.functions[0].fields[field];
       const char *word : std::span(named.dims, named.rank)) {
    const std::string_view dim(word);
    count *= static_cast<size_t>(dim == "T"     ? sizes.T
                                 : dim == "S"   ? sizes.S
                                 : dim == "N"   ? sizes.N
                                 : dim == "S+1" ? sizes.S + 1
                                                : host_.spec.max_pages);
  }
  return count;
}

// What padding tokens and sequences say: token 0 at position 0 of the null page, each of a sequence of its own.
void DeviceSteps::fill_block(const IngotStep &made, const StepView &step, const Sizes &sizes) {
  int32_t *block = ring_.data<int32_t>() + (launched_ % blocks) * block_words_;
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i].words == 0) continue;
    int32_t *to = block + fields_[i].first;
    const size_t count = words_of(made.fields[i]), whole = count_of(i, sizes);
    std::memcpy(to, made.fields[i].data, count * sizeof(int32_t));
    const std::string_view name = made.named[i].name;
    const bool counts = name == "sequences_T" || name == "rows_N" || name == "starts_S1";
    for (size_t k = count; k < whole; ++k) to[k] = counts ? static_cast<int32_t>(k) : 0;
  }
  if (sequences_field_ < 0) {
    int32_t *to = block + sequences_.first, t = 0;
    for (int32_t s = 0; s < step.header->S; ++s) {
      for (int32_t i = 0; i < step.lengths_S[static_cast<size_t>(s)]; ++i) to[t++] = s;
    }
    for (; t < sizes.T; ++t) to[t] = t;
  }
  if (slots_field_ < 0) {
    int32_t *to = block + slots_.first;
    std::copy(step.slots_S.begin(), step.slots_S.end(), to);
    std::fill(to + step.header->S, to + sizes.S, 0);
  }
  fill_rows(step, sizes, block);
}

// Which row of logits a sequence's token is drawn from, and where it will stand.
void DeviceSteps::fill_rows(const StepView &step, const Sizes &sizes, int32_t *block) {
  int32_t *rows = block + rows_.first, *positions = block + positions_.first;
  size_t row = 0;
  int32_t end = 0;
  for (size_t s = 0; s < step.slots_S.size(); ++s) {
    end += step.lengths_S[s];
    while (row < step.rows_N.size() && step.rows_N[row] < end) ++row;
    rows[s] = step.samples_S[s] == rank_samples ? static_cast<int32_t>(row) - 1 : -1;
    positions[s] = step.cached_S[s] + step.lengths_S[s];
  }
  std::fill(rows + step.slots_S.size(), rows + sizes.S, -1);
  std::fill(positions + step.slots_S.size(), positions + sizes.S, 0);
}

void DeviceSteps::send_embeddings(const IngotStep &made) {
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (!fields_[i].words) float_fields_[i].upload(0, made.fields[i].data, words_of(made.fields[i]) * sizeof(float));
  }
}

// The step as the engine sees it: fields on the device.
void DeviceSteps::bind(const IngotStep &made, const Sizes &sizes) {
  bound_ = made;
  bound_.T = sizes.T;
  bound_.S = sizes.S;
  bound_.N = sizes.N;
  bound_.Q = sizes.Q;
  bound_.host_fields = made.fields;
  for (size_t i = 0; i < fields_.size(); ++i) {
    IngotTensor tensor = made.fields[i];
    tensor.data = fields_[i].words ? static_cast<void *>(on_device(fields_[i])) : float_fields_[i].data<void>();
    // Vectors of padding tokens are whatever stands there: their id is not -2.
    const int64_t width = tensor.rank == 2 ? tensor.shape[1] : 1;
    tensor.shape[0] =
        fields_[i].words ? static_cast<int64_t>(count_of(i, sizes)) / std::max<int64_t>(width, 1) : sizes.T;
    tensors_[i] = tensor;
  }
  bound_.fields = tensors_.data();
}

}  // namespace ingot
