// Pages: transactions over all groups, copies of shared pages, prefixes found again, windows left behind.
#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <numeric>
#include <vector>

#include "runtime/block_manager.h"

using namespace ingot;

namespace {

std::vector<int32_t> counting(int32_t length) {
  std::vector<int32_t> tokens(static_cast<size_t>(length));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

// A sequence of these tokens, all in the cache for good.
SequencePages cached(BlockManager &blocks, const std::vector<int32_t> &tokens) {
  SequencePages sequence = blocks.empty();
  const auto length = static_cast<int32_t>(tokens.size());
  assert(blocks.reserve(sequence, 0, length));
  blocks.commit(sequence, tokens);
  return sequence;
}

// One group has pages, the other has not: nothing is taken from either.
void test_reserve_is_all_or_nothing() {
  BlockManager blocks({{10, 4, 0}, {3, 4, 0}}, true);
  SequencePages sequence = blocks.empty();
  assert(!blocks.reserve(sequence, 0, 12));
  assert(sequence.updates.empty() && blocks.pool(0).free_pages() == 9 && blocks.pool(1).free_pages() == 2);
  assert(blocks.reach(sequence, 0, 12) == 8);
  assert(blocks.reserve(sequence, 0, 8));
  assert(sequence.updates.size() == 4 && blocks.free_pages() == 7);
  blocks.release(sequence);
  assert(blocks.free_pages() == 11);
}

// Page 0 is never handed out.
void test_page_zero_belongs_to_nobody() {
  BlockManager blocks({{5, 1, 0}}, false);
  SequencePages sequence = blocks.empty();
  assert(blocks.reserve(sequence, 0, 4));
  for (const int32_t page : sequence.groups[0].pages) assert(page != 0);
  assert(!blocks.reserve(sequence, 4, 5) && blocks.capacity() == 4);
}

// The one who writes into a shared page gets a copy; the other keeps the page.
void test_fork_copies_on_write() {
  BlockManager blocks({{10, 4, 0}}, true);
  SequencePages first = cached(blocks, counting(6));
  SequencePages second = blocks.fork(first);
  assert(second.groups[0].pages == first.groups[0].pages && blocks.free_pages() == 7);

  assert(blocks.reserve(second, 6, 7));
  assert(second.groups[0].pages[0] == first.groups[0].pages[0] &&
         second.groups[0].pages[1] != first.groups[0].pages[1]);
  assert(second.copies.size() == 1 && second.copies[0].from == first.groups[0].pages[1] &&
         second.copies[0].to == second.groups[0].pages[1]);
  first.copies.clear();
  assert(blocks.reserve(first, 6, 7) && first.copies.empty());  // alone again: no copy
  blocks.release(first);
  blocks.release(second);
  assert(blocks.free_pages() == 9);
}

// Guesses that were refused give their pages back, and nothing else.
void test_truncate_drops_the_end() {
  BlockManager blocks({{10, 4, 0}}, true);
  SequencePages sequence = cached(blocks, counting(5));
  const std::vector<int32_t> before = sequence.groups[0].pages;
  assert(blocks.reserve(sequence, 5, 14) && blocks.free_pages() == 5);
  blocks.truncate(sequence, 5);
  assert(sequence.groups[0].pages == before && blocks.free_pages() == 7);
}

// A later sequence finds whole committed pages of the same tokens, also after their owner left.
void test_match_finds_the_longest_prefix() {
  BlockManager blocks({{10, 4, 0}}, true);
  SequencePages first = cached(blocks, counting(11));
  const std::vector<int32_t> pages = first.groups[0].pages;
  blocks.release(first);
  std::vector<int32_t> tokens = counting(20);
  tokens[9] = 99;

  SequencePages second = blocks.empty();
  assert(blocks.match(second, tokens, 19) == 8);
  assert(second.groups[0].pages == std::vector<int32_t>(pages.begin(), pages.begin() + 2) && blocks.free_pages() == 7);
  SequencePages adapter = blocks.empty(PageKey::root(1, "")), salted = blocks.empty(PageKey::root(0, "salt"));
  assert(blocks.match(adapter, tokens, 19) == 0 && blocks.match(salted, tokens, 19) == 0);
  SequencePages shorter = blocks.empty();
  assert(blocks.match(shorter, tokens, 7) == 4);  // never beyond the limit
}

// What is not committed is not found, and what was taken for something else is forgotten.
void test_match_finds_committed_pages_only() {
  BlockManager blocks({{4, 4, 0}}, true);
  SequencePages first = blocks.empty(), second = blocks.empty();
  assert(blocks.reserve(first, 0, 12));
  assert(blocks.match(second, counting(12), 11) == 0);
  blocks.commit(first, counting(12));
  blocks.release(first);
  std::vector<int32_t> others(12, 7);
  SequencePages third = cached(blocks, others);  // takes all pages
  blocks.release(third);
  assert(blocks.match(second, counting(12), 11) == 0);
}

// The least recently used pages go first, of one prefix its end before its beginning.
void test_reuse_forgets_the_oldest() {
  BlockManager blocks({{6, 4, 0}}, true);
  const std::vector<int32_t> old(8, 1), young(8, 2);
  SequencePages sequence = cached(blocks, old);
  blocks.release(sequence);
  sequence = cached(blocks, young);
  blocks.release(sequence);
  SequencePages taker = blocks.empty();
  assert(blocks.reserve(taker, 0, 8));  // one page was never used, one of `old` goes

  SequencePages probe = blocks.empty();
  assert(blocks.match(probe, old, 8) == 4);
  blocks.release(probe);
  probe = blocks.empty();
  assert(blocks.match(probe, young, 8) == 8);
}

// Pages that no later query sees go back, and the table shows the null page there.
void test_window_gives_pages_back() {
  BlockManager blocks({{4, 4, 5}}, true);
  SequencePages sequence = blocks.empty();
  std::vector<int32_t> tokens;
  for (int32_t length = 1; length <= 50; ++length) {
    assert(blocks.reserve(sequence, length - 1, length));
    tokens.push_back(length);
    blocks.commit(sequence, tokens);
    for (int32_t position = std::max(0, length - 4); position < length; ++position)
      assert(sequence.groups[0].pages[position / 4] != 0);
    assert(blocks.free_pages() >= 1);
  }
  assert(blocks.capacity() == INT32_MAX && sequence.groups[0].pages[0] == 0);
}

// A prefix counts only where every group still holds what the next token sees.
void test_match_is_valid_in_every_group() {
  BlockManager blocks({{20, 4, 0}, {5, 4, 4}}, true);
  SequencePages first = blocks.empty();
  std::vector<int32_t> tokens;
  for (int32_t length = 4; length <= 32; length += 4) {
    assert(blocks.reserve(first, length - 4, length));
    tokens = counting(length);
    blocks.commit(first, tokens);
  }
  blocks.release(first);
  SequencePages second = blocks.empty();
  assert(blocks.match(second, counting(40), 39) == 32);
  assert(second.groups[1].pages[7] != 0 && second.groups[1].pages[6] == 0);
  blocks.release(second);

  SequencePages thief = blocks.empty();
  const std::vector<int32_t> others(16, 9);
  assert(blocks.reserve(thief, 0, 16));  // every page of the window's group
  SequencePages third = blocks.empty();
  assert(blocks.match(third, counting(40), 39) == 0);
}

// One key for one history: what came before, the tokens and the root all count, and so does where a page ends.
void test_keys_tell_histories_apart() {
  const std::vector<int32_t> a{1, 2}, b{2, 1}, c{1, 2, 0};
  const PageKey none{}, salted = PageKey::root(0, "x"), adapter = PageKey::root(1, "");
  assert(PageKey::of(none, a) == PageKey::of(none, a) && PageKey::root(0, "") == none);
  assert(PageKey::of(none, a) != PageKey::of(none, b) && PageKey::of(none, a) != PageKey::of(none, c));
  assert(PageKey::of(PageKey::of(none, a), b) != PageKey::of(PageKey::of(none, b), b));
  assert(PageKey::of(salted, a) != PageKey::of(none, a) && salted != PageKey::root(0, "y") && salted != adapter);
}

// Who does not take part neither finds pages nor leaves any.
void test_reuse_off_is_for_both_sides() {
  BlockManager blocks({{20, 4, 0}}, true);
  SequencePages alone = blocks.empty({}, false);
  assert(blocks.reserve(alone, 0, 8));
  blocks.commit(alone, counting(8));
  blocks.release(alone);
  SequencePages probe = blocks.empty();
  assert(blocks.match(probe, counting(12), 11) == 0);
  SequencePages first = cached(blocks, counting(8));
  blocks.release(first);
  assert(blocks.match(alone, counting(12), 11) == 0);
  assert(blocks.match(probe, counting(12), 11) == 8);
}

// A prefix that was found again is the last to go.
void test_finding_a_page_makes_it_young() {
  BlockManager blocks({{5, 4, 0}}, true);
  const std::vector<int32_t> one(4, 1), two(4, 2), other(8, 3);
  for (const auto &tokens : {one, two}) {
    SequencePages sequence = cached(blocks, tokens);
    blocks.release(sequence);
  }
  SequencePages probe = blocks.empty();
  assert(blocks.match(probe, one, 4) == 4);
  blocks.release(probe);
  SequencePages taker = blocks.empty();
  assert(blocks.reserve(taker, 0, 12));  // two pages were never used; `two` goes before `one`
  SequencePages late = blocks.empty(), again = blocks.empty();
  assert(blocks.match(late, two, 4) == 0 && blocks.match(again, one, 4) == 4);
}

// What forks will take is known before: the copy of the shared page, and what comes behind it.
void test_demand_of_forks() {
  BlockManager blocks({{30, 4, 0}}, true);
  SequencePages first = cached(blocks, counting(6));
  std::vector<int64_t> demand{0};
  blocks.add_fork_demand(2, 6, 14, 4, demand);
  assert(demand[0] == 2 * (4 - 1));
  SequencePages second = blocks.fork(first);
  demand[0] = 0;
  blocks.add_demand(first, 6, 14, 4, demand);
  assert(demand[0] == 2 + 1);
  assert(pages_of_forks({30, 4, 0}, 3, 6, 14, 0) == 4 + 2 * 3);
  assert(pages_of_forks({30, 4, 5}, 3, 6, 1000, 0) == 3 * 3);
}

}  // namespace

int main() {
  test_reserve_is_all_or_nothing();
  test_page_zero_belongs_to_nobody();
  test_fork_copies_on_write();
  test_truncate_drops_the_end();
  test_match_finds_the_longest_prefix();
  test_match_finds_committed_pages_only();
  test_reuse_forgets_the_oldest();
  test_window_gives_pages_back();
  test_match_is_valid_in_every_group();
  test_keys_tell_histories_apart();
  test_reuse_off_is_for_both_sides();
  test_finding_a_page_makes_it_young();
  test_demand_of_forks();
  std::puts("blocks: ok");
}
