// The products of batches of matrices. Each output is one sum from the first k to the last, whatever the rows and
// threads: tiles share what they load, never sums.
#pragma once
#include <algorithm>
#include <cstring>

#include "ops/standard/elements.h"
#include "ops/standard/row.h"

namespace ingot::standard {

// Element (i, k) lies at first + i * row + k * column.
struct Matrix {
  const void *data;
  int32_t dtype;
  int64_t first, row, column;
};

struct ProductSizes {
  int64_t batches, rows, columns, depth;
};

// A tile of rows by columns is computed from a panel of the right matrix, `panel_depth` deep, and one of the left.
constexpr int64_t tile_rows = 64, tile_columns = 64, panel_depth = 64;

using Lanes [[gnu::vector_size(16)]] = float;
constexpr int64_t lanes = 4;

// The panels and sums of one tile: 48 KiB on the stack.
struct ProductTile {
  alignas(32) float left[tile_rows][panel_depth];
  alignas(32) float right[panel_depth][tile_columns];
  alignas(32) float sums[tile_rows][tile_columns];

  void read_left(const Matrix &a, int64_t row, int64_t rows, int64_t k, int64_t depth) {
    for (int64_t i = 0; i < rows; ++i) {
      read_elements(a.data, a.dtype, a.first + (row + i) * a.row + k * a.column, a.column, depth, left[i]);
    }
  }

  // Along what is contiguous.
  void read_right(const Matrix &b, int64_t column, int64_t columns, int64_t k, int64_t depth) {
    if (columns < tile_columns) std::memset(right, 0, sizeof right);
    if (b.column == 1) {
      for (int64_t i = 0; i < depth; ++i) {
        read_elements(b.data, b.dtype, b.first + (k + i) * b.row + column, 1, columns, right[i]);
      }
      return;
    }
    for (int64_t c = 0; c < columns; ++c) {
      float numbers[panel_depth];
      read_elements(b.data, b.dtype, b.first + k * b.row + (column + c) * b.column, b.row, depth, numbers);
      for (int64_t i = 0; i < depth; ++i) right[i][c] = numbers[i];
    }
  }

  template <int count>
  void add_rows(int64_t row, int64_t columns, int64_t depth) {
    constexpr int wide = 2;  // with 4 rows, the sums of one pass stay in registers of any machine
    for (int64_t c = 0; c < columns; c += wide * lanes) {
      Lanes sum[count][wide];
      for (int i = 0; i < count; ++i) std::memcpy(sum[i], &sums[row + i][c], sizeof sum[i]);
      for (int64_t k = 0; k < depth; ++k) {
        Lanes factor[wide];
        std::memcpy(factor, &right[k][c], sizeof factor);
        for (int i = 0; i < count; ++i) {
          const float number = left[row + i][k];
          for (int w = 0; w < wide; ++w) sum[i][w] += number * factor[w];
        }
      }
      for (int i = 0; i < count; ++i) std::memcpy(&sums[row + i][c], sum[i], sizeof sum[i]);
    }
  }

  void add(int64_t rows, int64_t columns, int64_t depth) {
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) add_rows<4>(row, columns, depth);
    for (; row < rows; ++row) add_rows<1>(row, columns, depth);
  }
};

// Calls finish(batch, row, column, n, sums) for all outputs, n columns of one row at a time.
// left(batch), right(batch): the matrices.
template <class Left, class Right, class Finish>
void multiply(IngotCtx *ctx, const ProductSizes &sizes, const Left &left, const Right &right, const Finish &finish) {
  const int64_t down = (sizes.rows + tile_rows - 1) / tile_rows,
                across = (sizes.columns + tile_columns - 1) / tile_columns;
  parallel(ctx, sizes.batches * down * across, 1, [&](int64_t begin, int64_t end) {
    ProductTile tile;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t batch = i / (down * across), row = i / across % down * tile_rows,
                    column = i % across * tile_columns;
      const int64_t rows = std::min(tile_rows, sizes.rows - row),
                    columns = std::min(tile_columns, sizes.columns - column);
      const Matrix a = left(batch), b = right(batch);
      std::memset(tile.sums, 0, static_cast<size_t>(rows) * sizeof tile.sums[0]);
      for (int64_t k = 0; k < sizes.depth; k += panel_depth) {
        const int64_t depth = std::min(panel_depth, sizes.depth - k);
        tile.read_left(a, row, rows, k, depth);
        tile.read_right(b, column, columns, k, depth);
        tile.add(rows, columns, depth);
      }
      for (int64_t r = 0; r < rows; ++r) finish(batch, row + r, column, columns, tile.sums[r]);
    }
  });
}

// Of integers, exactly but for the bits that 64 do not hold.
template <class Left, class Right, class Finish>
void multiply_integers(IngotCtx *ctx, const ProductSizes &sizes, const Left &left, const Right &right,
                       const Finish &finish) {
  parallel(ctx, sizes.batches * sizes.rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t batch = i / sizes.rows, row = i % sizes.rows;
      const Matrix a = left(batch), b = right(batch);
      for (int64_t column = 0; column < sizes.columns; column += block_size) {
        const int64_t n = std::min(block_size, sizes.columns - column);
        int64_t sums[block_size] = {}, factors[block_size];
        for (int64_t k = 0; k < sizes.depth; ++k) {
          int64_t factor = 0;
          read_elements(a.data, a.dtype, a.first + row * a.row + k * a.column, 0, 1, &factor);
          read_elements(b.data, b.dtype, b.first + k * b.row + column * b.column, b.column, n, factors);
          for (int64_t c = 0; c < n; ++c) {
            const uint64_t product = static_cast<uint64_t>(factor) * static_cast<uint64_t>(factors[c]);
            sums[c] = static_cast<int64_t>(static_cast<uint64_t>(sums[c]) + product);
          }
        }
        finish(batch, row, column, n, sums);
      }
    }
  });
}

}  // namespace ingot::standard
