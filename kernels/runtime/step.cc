#include "runtime/step.h"

#include <algorithm>
#include <cstring>

#include "error.h"
#include "ingot.h"

namespace ingot {
namespace {

// Takes typed arrays off the front of a message.
class Reader {
 public:
  Reader(const void *message, size_t bytes) : place_(static_cast<const uint8_t *>(message)), rest_(bytes) {}

  template <typename T>
  std::span<const T> take(int32_t count) {
    if (count < 0 || static_cast<size_t>(count) > rest_ / sizeof(T)) {
      fail(INGOT_FAILED, "a step message says %d entries of %zu bytes, %zu bytes are left of it", count, sizeof(T),
           rest_);
    }
    const std::span<const T> taken(reinterpret_cast<const T *>(place_), static_cast<size_t>(count));
    place_ += taken.size_bytes();
    rest_ -= taken.size_bytes();
    return taken;
  }

  size_t rest() const { return rest_; }

 private:
  const uint8_t *place_;
  size_t rest_;
};

void check(const StepView &step) {
  const StepHeader &header = *step.header;
  int64_t tokens = 0, longest = 0;
  for (const int32_t length : step.lengths_S) {
    if (length < 1) fail(INGOT_FAILED, "a step message gives a sequence %d tokens", length);
    tokens += length;
    longest = std::max<int64_t>(longest, length);
  }
  if (tokens != header.T || longest != header.Q) {
    fail(INGOT_FAILED, "a step message has T=%d and Q=%d, its sequences have %lld and %lld", header.T, header.Q,
         static_cast<long long>(tokens), static_cast<long long>(longest));
  }
  for (size_t s = 0; s < step.cached_S.size(); ++s) {
    if (step.cached_S[s] < 0 || step.cached_S[s] > INT32_MAX - step.lengths_S[s])
      fail(INGOT_FAILED, "a step message says that %d tokens of a sequence are in the cache", step.cached_S[s]);
  }
  for (const int32_t samples : step.samples_S) {
    if (samples < nobody_samples || samples > leader_samples)
      fail(INGOT_FAILED, "a step message says that %d samples a sequence", samples);
  }
  const auto embedded = std::count(step.ids_T.begin(), step.ids_T.end(), embedded_token);
  if (embedded != header.n_embeddings) {
    fail(INGOT_FAILED, "a step message has %d vectors for %lld tokens without an id", header.n_embeddings,
         static_cast<long long>(embedded));
  }
  for (const int32_t row : step.rows_N) {
    if (row < 0 || row >= header.T) fail(INGOT_FAILED, "a step message wants row %d of %d tokens", row, header.T);
  }
}

}  // namespace

StepView read_step(const void *message, size_t bytes) {
  Reader reader(message, bytes);
  StepView step;
  step.header = reader.take<StepHeader>(1).data();
  const StepHeader &header = *step.header;
  if (header.magic != step_magic || header.version != step_version) {
    fail(INGOT_FAILED, "a step message of version %u came, this rank reads version %u; run the same Ingot on all ranks",
         header.version, step_version);
  }
  step.sampling_changes = reader.take<SamplingChange>(header.n_sampling_changes);
  step.page_updates = reader.take<PageUpdate>(header.n_page_updates);
  step.page_copies = reader.take<PageCopy>(header.n_page_copies);
  for (auto *part : {&step.slots_S, &step.lengths_S, &step.cached_S, &step.adapters_S, &step.samples_S})
    *part = reader.take<int32_t>(header.S);
  step.ids_T = reader.take<int32_t>(header.T);
  step.rows_N = reader.take<int32_t>(header.N);
  const int64_t numbers = int64_t{header.n_embeddings} * header.embedding_width;
  if (header.n_embeddings < 0 || header.embedding_width < 0 || numbers > INT32_MAX)
    fail(INGOT_FAILED, "a step message says %d vectors of %d", header.n_embeddings, header.embedding_width);
  step.embeddings = reader.take<float>(static_cast<int32_t>(numbers));
  if (reader.rest()) fail(INGOT_FAILED, "a step message has %zu bytes too many", reader.rest());
  step.bytes = message;
  step.n_bytes = bytes;
  check(step);
  return step;
}

void StepWriter::start(uint64_t id) {
  id_ = id;
  sampling_changes_.clear();
  page_updates_.clear();
  page_copies_.clear();
  embeddings_.clear();
  embedding_width_ = 0;
  for (auto *part : {&slots_, &lengths_, &cached_, &adapters_, &samples_, &ids_, &rows_}) part->clear();
}

void StepWriter::add_sequence(int32_t slot, int32_t length, int32_t cached, int32_t adapter, int32_t samples) {
  slots_.push_back(slot);
  lengths_.push_back(length);
  cached_.push_back(cached);
  adapters_.push_back(adapter);
  samples_.push_back(samples);
}

void StepWriter::add_embedding(std::span<const float> vector) {
  add_token(embedded_token);
  embedding_width_ = static_cast<int32_t>(vector.size());
  embeddings_.insert(embeddings_.end(), vector.begin(), vector.end());
}

template <typename T>
void StepWriter::append(const std::vector<T> &values) {
  const size_t bytes = values.size() * sizeof(T);
  if (message_.size() * sizeof(uint64_t) < used_ + bytes) message_.resize(2 * (used_ + bytes) / sizeof(uint64_t) + 1);
  if (bytes) std::memcpy(reinterpret_cast<uint8_t *>(message_.data()) + used_, values.data(), bytes);
  used_ += bytes;
}

StepView StepWriter::finish() {
  const int32_t longest = lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
  const StepHeader header{step_magic,
                          step_version,
                          id_,
                          0,
                          tokens(),
                          sequences(),
                          rows(),
                          longest,
                          static_cast<int32_t>(sampling_changes_.size()),
                          static_cast<int32_t>(page_updates_.size()),
                          static_cast<int32_t>(page_copies_.size()),
                          embedding_width_ ? static_cast<int32_t>(embeddings_.size()) / embedding_width_ : 0,
                          embedding_width_};
  used_ = 0;
  append(std::vector<StepHeader>{header});
  append(sampling_changes_);
  append(page_updates_);
  append(page_copies_);
  for (const auto *part : {&slots_, &lengths_, &cached_, &adapters_, &samples_, &ids_, &rows_}) append(*part);
  append(embeddings_);
  return read_step(message_.data(), used_);
}

}  // namespace ingot
