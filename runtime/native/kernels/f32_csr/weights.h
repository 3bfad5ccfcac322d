// CSR weights where the model file has them: row pointers, in-row gaps, values. Nothing is copied.
#pragma once

#include "core/tensor.h"

namespace sparse_export::f32_csr {

// The weights of one layer. `rows` outputs, `columns` = channels per group x kernel.
// Invariants, proven by `read_weights`: row pointers start at 0, never fall, end at `entries`; within a row,
// the sum of (gap + 1) never passes `columns`.
struct Weights {
  int64_t rows = 0, columns = 0, entries = 0;
  Tensor indptr, gaps, values;

  // First entry of a row; `begin(rows)` is `entries`.
  SPARSE_EXPORT_INLINE int64_t begin(int64_t row) const {
    switch (indptr.type) {
      case element_uint16:
        return indptr.as<uint16_t>()[row];
      case element_uint32:
        return indptr.as<uint32_t>()[row];
      default:
        return static_cast<int64_t>(indptr.as<uint64_t>()[row]);
    }
  }
};

// Calls `body(const Gap* gaps, const Value* values)` with the types the weights have.
template <class Body>
SPARSE_EXPORT_INLINE decltype(auto) with_types(const Weights& weights, Body&& body) {
  const auto with_values = [&](auto* gaps) -> decltype(auto) {
    switch (weights.values.type) {
      case element_float16:
        return body(gaps, weights.values.as<Float16>());
      case element_bfloat16:
        return body(gaps, weights.values.as<BFloat16>());
      case element_int8:
        return body(gaps, weights.values.as<int8_t>());
      default:
        return body(gaps, weights.values.as<float>());
    }
  };
  switch (weights.gaps.type) {
    case element_uint8:
      return with_values(weights.gaps.as<uint8_t>());
    case element_uint16:
      return with_values(weights.gaps.as<uint16_t>());
    default:
      return with_values(weights.gaps.as<uint32_t>());
  }
}

// The checks of `read_weights`.
void check_weights(const Weights& weights);

// Takes the components `indptr`, `gaps` and `values`, and checks every invariant.
Weights read_weights(const std::vector<Tensor>& components, int64_t rows, int64_t columns);

}  // namespace sparse_export::f32_csr
