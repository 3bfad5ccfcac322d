#include "weights.h"

#include <bit>
#include <new>

#include "kernels/rows/parts.h"

namespace sparse_export::f32_masked {
namespace {

void allocate(Weights& weights, int64_t rows, int64_t columns, const Tensor& mask, const Tensor& values) {
  weights.rows = rows;
  weights.columns = columns;
  weights.entries = values.count;
  weights.mask = mask.as<uint8_t>();
  weights.mask_bytes = mask.count;
  weights.values = values;
  require(values.count < int64_t{UINT32_MAX}, "the weight has too many entries");
  weights.first = zeros<uint32_t>(static_cast<size_t>(rows * weights.segments() + 1));
}

// Bits set in [from, to).
int64_t count_bits(const uint8_t* bits, int64_t from, int64_t to) {
  int64_t count = 0;
  for (; from < to && from % 8 != 0; ++from) {
    count += bits[from / 8] >> (from % 8) & 1;
  }
  for (; from + 8 <= to; from += 8) {
    count += std::popcount(bits[from / 8]);
  }
  for (; from < to; ++from) {
    count += bits[from / 8] >> (from % 8) & 1;
  }
  return count;
}

}  // namespace

Weights read_bitmask(const std::vector<Tensor>& components, int64_t rows, int64_t columns) {
  rows::check_bitmask(components, {rows, columns, 1});
  Weights weights;
  allocate(weights, rows, columns, components[0], components[1]);
  int64_t at = 0, value = 0, i = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t first = 0; first < columns; first += segment_columns) {
      const int64_t count = columns - first < segment_columns ? columns - first : segment_columns;
      weights.first[static_cast<size_t>(i++)] = static_cast<uint32_t>(value);
      value += count_bits(weights.mask, at, at + count);
      at += count;
    }
  }
  weights.first[static_cast<size_t>(i)] = static_cast<uint32_t>(value);
  return weights;
}

Weights read_nm(const std::vector<Tensor>& components, int64_t rows, int64_t columns) {
  rows::check_nm(components, {rows, columns, 1});
  Weights weights;
  weights.chosen = components[0].shape[1];
  allocate(weights, rows, columns, components[1], components[0]);
  const int64_t of_row = (columns + 3) / 4 * weights.chosen;
  int64_t i = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t first = 0; first < columns; first += segment_columns) {
      weights.first[static_cast<size_t>(i++)] = static_cast<uint32_t>(row * of_row + first / 4 * weights.chosen);
    }
  }
  weights.first[static_cast<size_t>(i)] = static_cast<uint32_t>(rows * of_row);
  return weights;
}

}  // namespace sparse_export::f32_masked
