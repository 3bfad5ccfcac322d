// Weights of one bit, shared by every kernel that reads them.
//
// Weights stay where the model file has them: row k, bit i (least significant first) is the sign of weight i,
// 1 = negative. A weight is +1 or -1; its magnitude is part of `scale`.
#pragma once

#include "core/tensor.h"

namespace sparse_export::bit {

// Invariants, proven by `read_weights`: rows of ceil(columns / 8) bytes, the bits past `columns` are zero.
struct Weights {
  int64_t rows = 0, columns = 0;
  const uint8_t* bits = nullptr;

  SPARSE_EXPORT_INLINE int64_t row_bytes() const { return (columns + 7) / 8; }
  SPARSE_EXPORT_INLINE const uint8_t* row(int64_t k) const { return bits + k * row_bytes(); }
};

SPARSE_EXPORT_INLINE bool get(const uint8_t* bits, int64_t i) { return (bits[i / 8] >> (i % 8) & 1) != 0; }

// Takes the component `bits`, and checks every invariant.
Weights read_weights(const std::vector<Tensor>& components, int64_t rows, int64_t columns);

}  // namespace sparse_export::bit
