// CSR weights where the model file has them: row pointers, in-row gaps, values. Nothing is copied.
#pragma once

#include <bit>
#include <cstring>

#include "api.h"

namespace sparse_export {

SPARSE_EXPORT_INLINE float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t magnitude = half & 0x7FFFU;
  if (magnitude >= 0x7C00U) {  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7F800000U | (magnitude << 13));
  }
  // Moving the exponent by a multiplication also handles subnormals exactly.
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude << 13) * 0x1p112F));
}

SPARSE_EXPORT_INLINE float bfloat_to_float(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

// Storage classes of values; each knows how to give a float.
struct Float16 {
  uint16_t bits;
  SPARSE_EXPORT_INLINE operator float() const { return half_to_float(bits); }
};
struct BFloat16 {
  uint16_t bits;
  SPARSE_EXPORT_INLINE operator float() const { return bfloat_to_float(bits); }
};

// The weights of one layer. `rows` outputs, `columns` = channels per group x kernel.
// Invariants, proven by `read_csr`: row pointers start at 0, never fall, end at `entries`; within a row,
// the sum of (gap + 1) never passes `columns`.
struct CsrWeights {
  int64_t rows = 0, columns = 0, entries = 0;
  Tensor indptr, gaps, values;

  // First entry of a row; `begin(rows)` is `entries`.
  SPARSE_EXPORT_INLINE int64_t begin(int64_t row) const {
    switch (indptr.type) {
      case abi::element_uint16:
        return indptr.as<uint16_t>()[row];
      case abi::element_uint32:
        return indptr.as<uint32_t>()[row];
      default:
        return static_cast<int64_t>(indptr.as<uint64_t>()[row]);
    }
  }
};

// Calls `body(const Gap* gaps, const Value* values)` with the types the weights have.
template <class Body>
SPARSE_EXPORT_INLINE decltype(auto) with_csr_types(const CsrWeights& weights, Body&& body) {
  const auto with_values = [&](auto* gaps) -> decltype(auto) {
    switch (weights.values.type) {
      case abi::element_float16:
        return body(gaps, weights.values.as<Float16>());
      case abi::element_bfloat16:
        return body(gaps, weights.values.as<BFloat16>());
      case abi::element_int8:
        return body(gaps, weights.values.as<int8_t>());
      default:
        return body(gaps, weights.values.as<float>());
    }
  };
  switch (weights.gaps.type) {
    case abi::element_uint8:
      return with_values(weights.gaps.as<uint8_t>());
    case abi::element_uint16:
      return with_values(weights.gaps.as<uint16_t>());
    default:
      return with_values(weights.gaps.as<uint32_t>());
  }
}

// Reads the three components from the inputs at `first`, and checks every invariant.
CsrWeights read_csr(const KernelInfo& info, size_t first, int64_t rows, int64_t columns);

// The checks of `read_csr` on components already at hand.
void check_csr(const CsrWeights& weights);

}  // namespace sparse_export
