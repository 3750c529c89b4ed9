// Where a ranking of tokens ends, found without sorting them: top_k and top_p.
//
// Tokens are ranked by their logits, of equal ones the lower id first. A first pass counts tokens and adds up masses in
// bins of equal ratios of weights; the bin in which the ranking ends is read once more, and its tokens, usually a few,
// are sorted. If they are too many, they are counted again in finer bins, of the bits of floats, until they are few or
// all equal.
#pragma once
#include "cuda/logits_row.h"

namespace ingot::cuda {

constexpr int32_t listed = row_threads;  // tokens that are sorted at most, one a thread

// The last token that is kept, and what is kept with it.
struct Cut {
  uint32_t key;
  int32_t id;
  Tally kept;

  __device__ bool keeps(float x, int32_t other) const {
    const uint32_t its = key_of(x);
    return its > key || (its == key && other <= id);
  }
};

struct CutSpace {
  uint32_t count[bins], low[bins], high[bins];  // of each bin: tokens, the two halves of their mass
  uint64_t entry[listed];                       // ~key and id, so that the better one is the lower number
  ScanSpace scan;
  Tally before;  // the bin that was chosen
  int32_t bin;
  uint32_t n, least, greatest;  // tokens of the bin, their least and greatest key
  Cut cut;
};

__device__ inline void clear_bins(CutSpace &space) {
  __syncthreads();
  for (int32_t b = static_cast<int32_t>(threadIdx.x); b < bins; b += row_threads)
    space.count[b] = space.low[b] = space.high[b] = 0;
  __syncthreads();
}

// Shared memory adds 32 bits at once; the carries are as exact as the sums.
__device__ inline void add_to_bin(CutSpace &space, int32_t b, uint64_t mass) {
  const auto low = static_cast<uint32_t>(mass);
  const uint32_t carry = atomicAdd(&space.low[b], low) + low < low;
  const uint32_t high = static_cast<uint32_t>(mass >> 32) + carry;
  if (high) atomicAdd(&space.high[b], high);
  atomicAdd(&space.count[b], 1u);
}

__device__ inline void fill_bins(const LogitsRow &row, CutSpace &space) {
  clear_bins(space);
  uint32_t impossible = 0;  // most tokens, often: one counter for them all would be a queue
  row.each([&](float x, int32_t) {
    const int32_t b = row.bin(x);
    if (b == bins - 1) {
      ++impossible;
    } else {
      add_to_bin(space, b, row.mass(x));
    }
  });
  impossible = __reduce_add_sync(~0u, impossible);
  if (threadIdx.x % 32 == 0 && impossible) atomicAdd(&space.count[bins - 1], impossible);
  __syncthreads();
}

__device__ inline uint64_t mass_of_bins(CutSpace &space) {
  uint64_t mine = 0;
  for (int32_t b = static_cast<int32_t>(threadIdx.x); b < bins; b += row_threads)
    mine += static_cast<uint64_t>(space.high[b]) << 32 | space.low[b];
  Tally total;
  tally_before(space.scan, {mine, 0}, &total);
  return total.mass;
}

// Sets space.bin to the bin in which `target` (of masses, or of counts) is reached, and space.before to what lies
// before it.
template <bool by_mass>
__device__ void choose_bin(CutSpace &space, Tally before, uint64_t target) {
  const int32_t b = 2 * static_cast<int32_t>(threadIdx.x);
  const auto of = [&](int32_t i) {
    return Tally{static_cast<uint64_t>(space.high[i]) << 32 | space.low[i], space.count[i]};
  };
  const Tally first = of(b), second = of(b + 1);
  Tally total;
  before = before + tally_before(space.scan, first + second, &total);
  const auto measure = [](const Tally &t) { return by_mass ? t.mass : t.count; };
  const Tally middle = before + first, after = middle + second;
  if (measure(before) < target && target <= measure(middle)) {
    space.bin = b;
    space.before = before;
  } else if (measure(middle) < target && target <= measure(after)) {
    space.bin = b + 1;
    space.before = middle;
  }
  __syncthreads();
}

// Lists the tokens for which `inside`, as far as there is room, with their number and their least and greatest key.
template <typename F>
__device__ void collect(const LogitsRow &row, CutSpace &space, F inside) {
  __syncthreads();
  if (threadIdx.x == 0) {
    space.n = 0;
    space.least = ~0u;
    space.greatest = 0;
  }
  __syncthreads();
  uint32_t least = ~0u, greatest = 0;
  row.each([&](float x, int32_t id) {
    const uint32_t key = key_of(x);
    if (!inside(x, key)) return;
    least = min(least, key);
    greatest = max(greatest, key);
    const uint32_t place = atomicAdd(&space.n, 1u);
    if (place < listed) space.entry[place] = static_cast<uint64_t>(~key) << 32 | static_cast<uint32_t>(id);
  });
  least = __reduce_min_sync(~0u, least);
  greatest = __reduce_max_sync(~0u, greatest);
  if (threadIdx.x % 32 == 0 && least <= greatest) {
    atomicMin(&space.least, least);
    atomicMax(&space.greatest, greatest);
  }
  __syncthreads();
}

// The entries in ascending order, what is missing at the end: a bitonic sort, one entry a thread.
__device__ inline void sort_entries(CutSpace &space) {
  const uint32_t i = threadIdx.x, n = space.n;
  uint32_t padded = 2;
  while (padded < n) padded *= 2;
  if (i >= n) space.entry[i] = ~uint64_t{0};
  __syncthreads();
  for (uint32_t size = 2; size <= padded; size *= 2) {
    for (uint32_t apart = size / 2; apart > 0; apart /= 2) {
      const uint32_t other = i ^ apart;
      if (i < padded && other > i) {
        const uint64_t a = space.entry[i], b = space.entry[other];
        if ((a > b) == ((i & size) == 0)) {
          space.entry[i] = b;
          space.entry[other] = a;
        }
      }
      __syncthreads();
    }
  }
}

// The cut in a bin of few tokens.
template <bool by_mass>
__device__ void cut_in_list(const LogitsRow &row, CutSpace &space, uint64_t target) {
  sort_entries(space);
  const uint64_t entry = space.entry[threadIdx.x];
  const auto key = ~static_cast<uint32_t>(entry >> 32);
  const Tally mine = threadIdx.x < space.n ? Tally{row.mass(number_of(key)), 1} : Tally{0, 0};
  Tally total;
  const Tally before = space.before + tally_before(space.scan, mine, &total), after = before + mine;
  const auto measure = [](const Tally &t) { return by_mass ? t.mass : t.count; };
  if (measure(before) < target && target <= measure(after))
    space.cut = {key, static_cast<int32_t>(static_cast<uint32_t>(entry)), after};
  __syncthreads();
}

// The cut among tokens of one and the same logit, too many to be listed: as many as are needed, lowest ids first.
template <bool by_mass>
__device__ void cut_in_ties(const LogitsRow &row, CutSpace &space, uint64_t target) {
  const uint32_t key = space.least;
  const uint64_t mass = row.mass(number_of(key));
  const uint64_t needed = by_mass ? (target - space.before.mass + mass - 1) / mass : target - space.before.count;
  uint64_t seen = 0;
  for (int32_t base = 0; base < row.V; base += row_threads) {
    const int32_t id = base + static_cast<int32_t>(threadIdx.x);
    const bool tied = id < row.V && key_of(__ldg(row.x_V + id)) == key;
    const auto here = static_cast<uint64_t>(__syncthreads_count(tied));
    if (seen + here < needed) {
      seen += here;
      continue;
    }
    Tally total;
    const Tally before = tally_before(space.scan, {0, tied ? 1u : 0u}, &total);
    if (tied && seen + before.count + 1 == needed) space.cut = {key, id, space.before + Tally{needed * mass, needed}};
    break;
  }
  __syncthreads();
}

// The shortest ranking, best first, whose masses or whose count reach `target`, which is at least 1 and at most that of
// all. `filled`: whether the bins are those of fill_bins; afterwards likewise.
template <bool by_mass>
__device__ Cut find_cut(const LogitsRow &row, CutSpace &space, uint64_t target, bool *filled) {
  if (!*filled) fill_bins(row, space);
  *filled = true;
  choose_bin<by_mass>(space, {0, 0}, target);
  const int32_t bin = space.bin;
  if (bin == bins - 1) return {0, INT32_MAX, space.before};  // whoever is in there has no mass: none need be left out
  collect(row, space, [&](float x, uint32_t) { return row.bin(x) == bin; });
  while (space.n > listed && space.least < space.greatest) {
    *filled = false;
    const uint32_t least = space.least, greatest = space.greatest;
    const int32_t bits = 32 - __clz(greatest - least), shift = max(0, bits - 11);
    clear_bins(space);
    row.each([&](float x, int32_t) {
      const uint32_t key = key_of(x);
      if (key >= least && key <= greatest)
        add_to_bin(space, static_cast<int32_t>((greatest - key) >> shift), row.mass(x));
    });
    __syncthreads();
    choose_bin<by_mass>(space, space.before, target);
    const auto chosen = static_cast<uint32_t>(space.bin);
    collect(row, space, [&](float, uint32_t key) {
      return key >= least && key <= greatest && (greatest - key) >> shift == chosen;
    });
  }
  if (space.n <= listed) {
    cut_in_list<by_mass>(row, space, target);
  } else {
    cut_in_ties<by_mass>(row, space, target);
  }
  return space.cut;
}

}  // namespace ingot::cuda
