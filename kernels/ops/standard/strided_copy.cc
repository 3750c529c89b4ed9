#include "ops/standard/strided_copy.h"

#include <cstring>

#include "ops/dtype.h"
#include "ops/numbers.h"
#include "ops/standard/row.h"

namespace ingot::standard {
namespace {

constexpr int64_t tile = 16;        // rows and columns of a turned tile: one line of the cache each
constexpr int64_t grain = 1 << 14;  // elements that are worth a thread

// Without dimensions of one element, and with those that are passed alike as one; a row and a column at least.
StridedCopy simplified(const StridedCopy &copy) {
  StridedCopy simple;
  simple.from_first = copy.from_first;
  simple.to_first = copy.to_first;
  for (int32_t i = 0; i < copy.rank; ++i) {
    if (copy.size[i] == 1) continue;
    const int32_t last = simple.rank - 1;
    if (last >= 0 && simple.from[last] == copy.size[i] * copy.from[i] && simple.to[last] == copy.size[i] * copy.to[i]) {
      simple.size[last] *= copy.size[i];
      simple.from[last] = copy.from[i];
      simple.to[last] = copy.to[i];
    } else {
      simple.add(copy.size[i], copy.from[i], copy.to[i]);
    }
  }
  if (simple.rank == 0) simple.add(1, 1, 1);
  if (simple.rank == 1) {  // as one row
    simple.add(simple.size[0], simple.from[0], simple.to[0]);
    simple.size[0] = 1;
  }
  return simple;
}

struct Place {
  int64_t from, to;
};

// The place of number `index` over all dimensions but the last `inner`.
Place place_of(const StridedCopy &copy, int64_t index, int32_t inner) {
  Place place{copy.from_first, copy.to_first};
  for (int32_t i = copy.rank - 1 - inner; i >= 0; --i) {
    place.from += index % copy.size[i] * copy.from[i];
    place.to += index % copy.size[i] * copy.to[i];
    index /= copy.size[i];
  }
  return place;
}

template <class Word>
void copy_row(const StridedCopy &copy, const Word *in, Word *out) {
  const int32_t last = copy.rank - 1;
  const int64_t count = copy.size[last], from = copy.from[last], to = copy.to[last];
  if (to == 1 && from == 1) {
    std::memcpy(out, in, static_cast<size_t>(count) * sizeof(Word));
  } else if (to == 1 && from == 0) {
    std::fill_n(out, count, *in);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i * to] = in[i * from];
  }
}

// Rows and columns change places: in tiles, so that a line of the cache is used whole.
template <class Word>
void turn(const StridedCopy &copy, const Word *in, Word *out, int64_t row_begin, int64_t row_end) {
  const int32_t row = copy.rank - 2, column = copy.rank - 1;
  for (int64_t c = 0; c < copy.size[column]; c += tile) {
    const int64_t c_end = std::min(c + tile, copy.size[column]);
    for (int64_t r = row_begin; r < row_end; ++r) {
      const Word *from = in + r * copy.from[row];
      Word *to = out + r * copy.to[row];
      for (int64_t i = c; i < c_end; ++i) to[i * copy.to[column]] = from[i * copy.from[column]];
    }
  }
}

template <class Word>
void copy_words(const StridedCopy &copy, IngotCtx *ctx, const void *data_in, void *data_out) {
  const auto *in = static_cast<const Word *>(data_in);
  auto *out = static_cast<Word *>(data_out);
  const int32_t last = copy.rank - 1;
  int64_t rows = 1;
  for (int32_t i = 0; i < last; ++i) rows *= copy.size[i];
  if (copy.from[last] <= 1 || copy.from[last - 1] != 1) {
    parallel(ctx, rows, grain / copy.size[last] + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Place place = place_of(copy, i, 1);
        copy_row(copy, in + place.from, out + place.to);
      }
    });
    return;
  }
  const int64_t strips = (copy.size[last - 1] + tile - 1) / tile;
  parallel(ctx, rows / copy.size[last - 1] * strips, grain / (tile * copy.size[last]) + 1,
           [&](int64_t begin, int64_t end) {
             for (int64_t i = begin; i < end; ++i) {
               const Place place = place_of(copy, i / strips, 2);
               const int64_t first = i % strips * tile;
               turn(copy, in + place.from, out + place.to, first, std::min(first + tile, copy.size[last - 1]));
             }
           });
}

// One after the other: neighbours share a byte.
void copy_halves(const StridedCopy &copy, int32_t dtype, const void *in, void *out) {
  const int32_t last = copy.rank - 1;
  int64_t rows = 1;
  for (int32_t i = 0; i < last; ++i) rows *= copy.size[i];
  for (int64_t i = 0; i < rows; ++i) {
    const Place place = place_of(copy, i, 1);
    for (int64_t k = 0; k < copy.size[last]; ++k) {
      write_integer(out, dtype, place.to + k * copy.to[last], four_bits(in, place.from + k * copy.from[last]));
    }
  }
}

}  // namespace

void StridedCopy::run(IngotCtx *ctx, int32_t dtype, const void *in, void *out) const {
  if (std::any_of(size, size + rank, [](int64_t count) { return count == 0; })) return;
  const StridedCopy copy = simplified(*this);
  switch (dtype_bits(dtype)) {
    case 4:
      return copy_halves(copy, dtype, in, out);
    case 8:
      return copy_words<uint8_t>(copy, ctx, in, out);
    case 16:
      return copy_words<uint16_t>(copy, ctx, in, out);
    case 32:
      return copy_words<uint32_t>(copy, ctx, in, out);
    default:
      return copy_words<uint64_t>(copy, ctx, in, out);
  }
}

}  // namespace ingot::standard
