// One step as a flat message without pointers: the leader decides and writes it, every rank (here or on another node)
// replays it.
//
// Layout, all little endian and aligned to 4 bytes: header, sampling changes, page updates, page copies, then int32
// arrays: slots_S, lengths_S (tokens of each sequence in this step), cached_S (tokens in the cache before), adapters_S
// (0: none), samples_S (who makes a token of the sequence's rows), ids_T (-1: the slot's last token, -2: a token that
// has a vector instead), rows_N (indices into T); then the vectors of the tokens -2, in order, float32.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace ingot {

inline constexpr uint32_t step_magic = 0x50544749;  // "IGTP"
inline constexpr uint32_t step_version = 4;
inline constexpr int32_t last_token_of_slot = -1;
inline constexpr int32_t embedded_token = -2;  // it has a vector instead of an id

// What samples_S says of a sequence; of one slot it is always rank_samples, or never.
inline constexpr int32_t nobody_samples = 0;  // the step is in the midst of its prompt: its rows are nobody's
inline constexpr int32_t rank_samples = 1;    // its last row becomes its slot's next token, which the rank draws
inline constexpr int32_t leader_samples = 2;  // its rows' logits go to the leader, who sets the slot's last token
                                              // before a later step is launched

struct StepHeader {
  uint32_t magic, version;
  uint64_t id;
  int32_t function;
  int32_t T, S, N, Q;
  int32_t n_sampling_changes, n_page_updates, n_page_copies;
  int32_t n_embeddings, embedding_width;  // vectors, and numbers of each
};

// A sequence moves into a slot: what stood there is forgotten, its page table rows become the null page. How its tokens
// are chosen: see logits_processor.h and sampler.h.
//
// Here are the settings of fixed size. logit_bias, bad_words, the tokens that min_tokens holds back, and the tokens
// that penalties count (a prefix found in the cache never appears in ids_T) stay with the leader, who samples for those
// that ask for them. A rank that did it would need them once per entry into a slot, as one more section of int32: for
// each change its counts, then pairs (token, bias bits), words as (length, tokens …), end tokens, and the sequence's
// tokens before the step; tokens drawn later it knows itself.
struct SamplingChange {
  uint64_t seed = 0;
  int32_t slot = 0, top_k = 0;
  float temperature = 0, top_p = 1;
  int32_t logprobs = -1, no_repeat_ngram_size = 0;
  float min_p = 0, repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  int32_t min_tokens = 0;
  int32_t prompt = 0;  // tokens of it: those at later positions were generated
};

struct PageUpdate {
  int32_t group, slot, column, page;
};

// Before the step, the whole of page `from` is copied to page `to`.
struct PageCopy {
  int32_t group, from, to;
};

static_assert(sizeof(StepHeader) == 56 && sizeof(SamplingChange) == 56 && sizeof(PageUpdate) == 16 &&
              sizeof(PageCopy) == 12 && std::is_trivially_copyable_v<SamplingChange>);

// What a message says. Spans point into the message.
struct StepView {
  const StepHeader *header = nullptr;
  std::span<const SamplingChange> sampling_changes;
  std::span<const PageUpdate> page_updates;
  std::span<const PageCopy> page_copies;
  std::span<const float> embeddings;
  std::span<const int32_t> slots_S, lengths_S, cached_S, adapters_S, samples_S, ids_T, rows_N;
  const void *bytes = nullptr;
  size_t n_bytes = 0;
};

// Throws Error(INGOT_FAILED) unless the message has this version, its counts fill it exactly, and its lengths and rows
// agree with T.
StepView read_step(const void *message, size_t bytes);

// Writes messages; its memory is used again for the next one.
class StepWriter {
 public:
  void start(uint64_t id);

  void add_sequence(int32_t slot, int32_t length, int32_t cached, int32_t adapter, int32_t samples);
  void add_token(int32_t id) { ids_.push_back(id); }
  // A token without an id. All vectors of a message have one width.
  void add_embedding(std::span<const float> vector);
  void add_row(int32_t token) { rows_.push_back(token); }
  void add(const SamplingChange &change) { sampling_changes_.push_back(change); }
  void add(const PageUpdate &update) { page_updates_.push_back(update); }
  void add(const PageCopy &copy) { page_copies_.push_back(copy); }

  int32_t tokens() const { return static_cast<int32_t>(ids_.size()); }
  int32_t sequences() const { return static_cast<int32_t>(slots_.size()); }
  int32_t rows() const { return static_cast<int32_t>(rows_.size()); }

  // The message, valid until the next start().
  StepView finish();

 private:
  template <typename T>
  void append(const std::vector<T> &values);

  uint64_t id_ = 0;
  std::vector<SamplingChange> sampling_changes_;
  std::vector<PageUpdate> page_updates_;
  std::vector<PageCopy> page_copies_;
  std::vector<int32_t> slots_, lengths_, cached_, adapters_, samples_, ids_, rows_;
  std::vector<float> embeddings_;
  int32_t embedding_width_ = 0;
  std::vector<uint64_t> message_;  // of uint64_t, so that it is aligned
  size_t used_ = 0;
};

}  // namespace ingot
