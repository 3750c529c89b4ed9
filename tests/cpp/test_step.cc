// The step message and the tensors made of it.
#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "error.h"
#include "runtime/slot.h"
#include "runtime/step.h"
#include "runtime/step_fields.h"
#include "small_folder.h"

using namespace ingot;

namespace {

// Slot 2 has 5 tokens in the cache and goes on with its last token; slot 0
// begins with three.
StepView write_example(StepWriter &writer) {
  writer.start(7);
  writer.add_sequence(2, 1, 5, 0, true);
  writer.add_token(last_token_of_slot);
  writer.add_sequence(0, 3, 0, 0, false);
  for (const int32_t id : {11, 12, 13})
    writer.add_token(id);
  writer.add_row(0);
  writer.add(SamplingChange{99, 0, 5, 0.5f, 0.9f, -1, 0});
  writer.add(PageUpdate{0, 2, 1, 6});
  writer.add(PageUpdate{0, 0, 0, 3});
  writer.add(PageCopy{0, 4, 6});
  return writer.finish();
}

void test_a_message_says_what_was_written() {
  StepWriter writer;
  const StepView step = write_example(writer);
  const std::vector<uint8_t> copy(static_cast<const uint8_t *>(step.bytes),
                                  static_cast<const uint8_t *>(step.bytes) +
                                      step.n_bytes);
  const StepView again =
      read_step(copy.data(), copy.size()); // as another rank would
  assert(again.header->id == 7 && again.header->T == 4 &&
         again.header->S == 2 && again.header->N == 1 && again.header->Q == 3);
  assert(again.ids_T[0] == -1 && again.ids_T[3] == 13 &&
         again.cached_S[0] == 5 && again.samples_S[0] == 1 &&
         again.samples_S[1] == 0);
  assert(again.sampling_changes[0].seed == 99 &&
         again.page_updates[1].page == 3 && again.page_copies[0].to == 6);
}

// A message that was cut, lengthened or scribbled on is refused, or says
// something within its bounds.
void test_damaged_messages() {
  StepWriter writer;
  const StepView step = write_example(writer);
  std::vector<uint64_t> words((step.n_bytes + 15) / 8, 0);
  const auto restore = [&] {
    std::memcpy(words.data(), step.bytes, step.n_bytes);
  };
  restore();
  for (size_t bytes = 0; bytes < step.n_bytes; ++bytes)
    assert(!refusal([&] { read_step(words.data(), bytes); }).empty());
  assert(!refusal([&] { read_step(words.data(), step.n_bytes + 4); }).empty());
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    restore();
    for (int i = 0; i < 3; ++i)
      reinterpret_cast<uint8_t *>(words.data())[random() % step.n_bytes] =
          static_cast<uint8_t>(random());
    refusal([&] {
      Slots slots(4, {8}, 4);
      slots.apply(read_step(words.data(), step.n_bytes));
    });
  }
}

// Positions are counted from what a message says is in the cache.
void test_impossible_lengths() {
  for (const int32_t cached : {-1, INT32_MAX}) {
    StepWriter writer;
    writer.start(1);
    writer.add_sequence(0, 1, cached, 0, false);
    writer.add_token(3);
    assert(contains(refusal([&] { writer.finish(); }), "are in the cache"));
  }
}

IngotNamedTensor field(const char *name, const char *first,
                       const char *second = nullptr,
                       int32_t dtype = INGOT_I32) {
  return {name, dtype, second ? 2 : 1, {first, second}};
}

void test_fields_follow_from_the_message() {
  const IngotNamedTensor fields[] = {
      field("ids_T", "T"),       field("positions_T", "T"),
      field("sequences_T", "T"), field("rows_N", "N"),
      field("slots_S", "S"),     field("starts_S1", "S+1"),
      field("cached_S", "S"),    field("pages0_SM", "S", "M"),
      field("cells0_T", "T")};
  const IngotFunction function{"step", 9, 0, fields, nullptr};
  const IngotCacheGroup group{"full", "paged", 4, 0, 1, 0, nullptr};
  const IngotEngineSpec spec{sizeof spec, 1,  1, &function, &group, 8, 4,
                             8,           16, 4, 100,       0,      0};
  StepFields made(spec, 0, 4);
  Slots slots(4, {8}, 4);
  slots.set_last_token(2, 42);
  StepWriter writer;
  const StepView step = write_example(writer);
  slots.apply(step);
  const IngotStep engine_step = made.make(step, slots);

  const auto values = [&](int32_t i) {
    const IngotTensor &tensor = engine_step.fields[i];
    const auto *data = static_cast<const int32_t *>(tensor.data);
    return std::vector<int32_t>(
        data,
        data + tensor.shape[0] * (tensor.rank == 2 ? tensor.shape[1] : 1));
  };
  using Values = std::vector<int32_t>;
  assert(values(0) == (Values{42, 11, 12, 13}) &&
         values(1) == (Values{5, 0, 1, 2}) &&
         values(2) == (Values{0, 1, 1, 1}));
  assert(values(3) == Values{0} && values(4) == (Values{2, 0}) &&
         values(5) == (Values{0, 1, 4}) && values(6) == (Values{5, 0}));
  assert(values(7) == (Values{0, 6, 0, 0, 3, 0, 0, 0}));
  assert(values(8) == (Values{6 * 4 + 1, 3 * 4, 3 * 4 + 1, 3 * 4 + 2}));
}

// Vectors of tokens without an id travel with the message, and stand in their
// tokens' rows.
void test_embeddings_follow_their_tokens() {
  const IngotNamedTensor fields[] = {
      field("ids_T", "T"), field("embeddings_TD", "T", "3", INGOT_F32)};
  const IngotFunction function{"step", 2, 0, fields, nullptr};
  const IngotEngineSpec spec{sizeof spec, 1,  0, &function, nullptr, 8, 4,
                             8,           16, 4, 100,       0,       0};
  StepFields made(spec, 0, 4);
  assert(made.embedding_width() == 3);
  Slots slots(4, {8}, 4);
  const float first[] = {1, 2, 3}, second[] = {4, 5, 6}, narrow[] = {1, 2};
  StepWriter writer;
  const auto write = [&](std::span<const float> vector) {
    writer.start(1);
    writer.add_sequence(1, 3, 0, 0, true);
    writer.add_embedding(vector);
    writer.add_token(7);
    writer.add_embedding(vector.size() == 3 ? std::span<const float>(second)
                                            : vector);
    writer.add_row(2);
    return writer.finish();
  };
  const StepView step = write(first);
  assert(step.header->n_embeddings == 2 && step.header->embedding_width == 3 &&
         step.embeddings.size() == 6);
  const IngotStep engine_step = made.make(step, slots);
  const IngotTensor &tensor = engine_step.fields[1];
  const auto *data = static_cast<const float *>(tensor.data);
  assert(tensor.dtype == INGOT_F32 && tensor.shape[0] == 3 &&
         tensor.shape[1] == 3 && tensor.stride[0] == 3);
  assert(data[0] == 1 && data[2] == 3 && data[6] == 4 && data[8] == 6);
  assert(static_cast<const int32_t *>(engine_step.fields[0].data)[1] == 7);

  std::vector<uint64_t> words((step.n_bytes + 7) / 8);
  std::memcpy(words.data(), step.bytes, step.n_bytes);
  reinterpret_cast<StepHeader *>(words.data())->n_embeddings = 1;
  assert(!refusal([&] { read_step(words.data(), step.n_bytes); }).empty());
  reinterpret_cast<StepHeader *>(words.data())->n_embeddings = 2;
  std::mt19937 random(2);
  for (int round = 0; round < 20000; ++round) {
    std::memcpy(words.data(), step.bytes, step.n_bytes);
    for (int i = 0; i < 2; ++i)
      reinterpret_cast<uint8_t *>(words.data())[random() % step.n_bytes] =
          static_cast<uint8_t>(random());
    refusal([&] {
      const StepView damaged = read_step(words.data(), step.n_bytes);
      if (damaged.header->T <= 8 && damaged.header->S <= 4)
        made.make(damaged, slots);
    });
  }
  assert(contains(refusal([&] { made.make(write(narrow), slots); }),
                  "vectors of 2"));
}

void test_unknown_fields_are_refused_by_name() {
  const auto refuse = [](const IngotNamedTensor &wanted) {
    const IngotFunction function{"step", 1, 0, &wanted, nullptr};
    const IngotEngineSpec spec{sizeof spec, 1,  0, &function, nullptr, 8, 4,
                               8,           16, 4, 100,       0,       0};
    return refusal([&] { StepFields(spec, 0, 4); });
  };
  assert(contains(refuse(field("colours_T", "T")), "colours_T"));
  assert(contains(refuse(field("pages0_SM", "S", "M")),
                  "pages0_SM")); // there is no group 0
  assert(contains(refuse(field("ids_T", "S")), "ids_T"));
  assert(contains(refuse(field("ids_T", "T", nullptr, INGOT_I64)), "ids_T"));
  assert(contains(refuse(field("embeddings_TD", "T", "3")), "embeddings_TD"));
  assert(contains(refuse(field("embeddings_TD", "T", "M", INGOT_F32)),
                  "embeddings_TD"));
  assert(refuse(field("ids_T", "T")).empty());
}

} // namespace

int main() {
  test_a_message_says_what_was_written();
  test_damaged_messages();
  test_impossible_lengths();
  test_fields_follow_from_the_message();
  test_embeddings_follow_their_tokens();
  test_unknown_fields_are_refused_by_name();
  std::puts("step: ok");
}
