// Weights under a mask, where the model file has them: a bit for every weight and the values of those set, or, of every
// four columns, one or two values and their places. Nothing is copied but where the values of a row begin.
#pragma once

#include "core/memory.h"
#include "core/tensor.h"

namespace sparse_export::f32_masked {

constexpr int64_t segment_columns = 2048;  // whose mask and values are at hand together

// Rows of a matrix product: X has `columns` of them.
struct Weights {
  int64_t rows = 0, columns = 0;
  int64_t entries = 0;
  int64_t chosen = 0;  // 0: `mask` holds bits; 1, 2: 2-bit places of as many values of every four columns
  const uint8_t* mask = nullptr;
  int64_t mask_bytes = 0;
  Tensor values;
  Array<uint32_t> first;  // [row][segment], and the end: its first value

  SPARSE_EXPORT_INLINE int64_t segments() const { return (columns + segment_columns - 1) / segment_columns; }
  SPARSE_EXPORT_INLINE int64_t begin(int64_t row, int64_t segment) const { return first[row * segments() + segment]; }
  SPARSE_EXPORT_INLINE int64_t end(int64_t row, int64_t segment) const { return first[row * segments() + segment + 1]; }

  // Bits of a row in `mask`: of every column one, or of every group of four columns two for a value.
  SPARSE_EXPORT_INLINE int64_t row_bits() const { return chosen == 0 ? columns : (columns + 3) / 4 * chosen * 2; }
};

// Takes `mask` and `values` of a bitmask, `values` and `places` of N:4 weights, and checks every invariant.
Weights read_bitmask(const std::vector<Tensor>& components, int64_t rows, int64_t columns);
Weights read_nm(const std::vector<Tensor>& components, int64_t rows, int64_t columns);

}  // namespace sparse_export::f32_masked
