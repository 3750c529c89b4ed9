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

// Slot 2 has 5 tokens in the cache and goes on with its last token; slot 0 begins with three.
StepView write_example(StepWriter &writer) {
  writer.start(7);
  writer.add_sequence(2, 1, 5, 0, true);
  writer.add_token(last_token_of_slot);
  writer.add_sequence(0, 3, 0, 0, false);
  for (const int32_t id : {11, 12, 13}) writer.add_token(id);
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
                                  static_cast<const uint8_t *>(step.bytes) + step.n_bytes);
  const StepView again = read_step(copy.data(), copy.size());  // as another rank would
  assert(again.header->id == 7 && again.header->T == 4 && again.header->S == 2 && again.header->N == 1 &&
         again.header->Q == 3);
  assert(again.ids_T[0] == -1 && again.ids_T[3] == 13 && again.cached_S[0] == 5 && again.samples_S[0] == 1 &&
         again.samples_S[1] == 0);
  assert(again.sampling_changes[0].seed == 99 && again.page_updates[1].page == 3 && again.page_copies[0].to == 6);
}

// A message that was cut, lengthened or scribbled on is refused, or says something within its bounds.
void test_damaged_messages() {
  StepWriter writer;
  const StepView step = write_example(writer);
  std::vector<uint64_t> words((step.n_bytes + 15) / 8, 0);
  const auto restore = [&] { std::memcpy(words.data(), step.bytes, step.n_bytes); };
  restore();
  for (size_t bytes = 0; bytes < step.n_bytes; ++bytes)
    assert(!refusal([&] { read_step(words.data(), bytes); }).empty());
  assert(!refusal([&] { read_step(words.data(), step.n_bytes + 4); }).empty());
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    restore();
    for (int i = 0; i < 3; ++i)
      reinterpret_cast<uint8_t *>(words.data())[random() % step.n_bytes] = static_cast<uint8_t>(random());
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

IngotNamedTensor field(const char *name, const char *first, const char *second = nullptr, int32_t dtype = INGOT_I32) {
  return {name, dtype, second ? 2 : 1, {first, second}};
}

void test_fields_follow_from_the_message() {
  const IngotNamedTensor fields[] = {field("ids_T", "T"),    field("positions_T", "T"),    field("sequences_T", "T"),
                                     field("rows_N", "N"),   field("slots_S", "S"),        field("starts_S1", "S+1"),
                                     field("cached_S", "S"), field("pages0_SM", "S", "M"), field("cells0_T", "T")};
  const IngotFunction function{"step", 9, 0, fields, nullptr};
  const IngotCacheGroup group{"full", "paged", 4, 0, 1, 0, nullptr};
  const IngotEngineSpec spec{sizeof spec, 1, 1, &function, &group, 8, 4, 8, 16, 4, 100, 0, 0};
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
    return std::vector<int32_t>(data, data + tensor.shape[0] * (tensor.rank == 2 ? tensor.shape[1] : 1));
  };
  using Values = std::vector<int32_t>;
  assert(values(0) == (Values{42, 11, 12, 13}) && values(1) == (Values{5, 0, 1, 2}) &&
         values(2) == (Values{0, 1, 1, 1}));
  assert(values(3) == Values{0} && values(4) == (Values{2, 0}) && values(5) == (Values{0, 1, 4}) &&
         values(6) == (Values{5, 0}));
  assert(values(7) == (Values{0, 6, 0, 0, 3, 0, 0, 0}));
  assert(values(8) == (Values{6 * 4 + 1, 3 * 4, 3 * 4 + 1, 3 * 4 + 2}));
}

void test_unknown_fields_are_refused_by_name() {
  const auto refuse = [](const IngotNamedTensor &wanted) {
    const IngotFunction function{"step", 1, 0, &wanted, nullptr};
    const IngotEngineSpec spec{sizeof spec, 1, 0, &function, nullptr, 8, 4, 8, 16, 4, 100, 0, 0};
    return refusal([&] { StepFields(spec, 0, 4); });
  };
  assert(contains(refuse(field("colours_T", "T")), "colours_T"));
  assert(contains(refuse(field("pages0_SM", "S", "M")), "pages0_SM"));  // there is no group 0
  assert(contains(refuse(field("ids_T", "S")), "ids_T"));
  assert(contains(refuse(field("ids_T", "T", nullptr, INGOT_I64)), "ids_T"));
  assert(refuse(field("ids_T", "T")).empty());
}

}  // namespace

int main() {
  test_a_message_says_what_was_written();
  test_damaged_messages();
  test_impossible_lengths();
  test_fields_follow_from_the_message();
  test_unknown_fields_are_refused_by_name();
  std::puts("step: ok");
}
