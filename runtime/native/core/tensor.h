// Tensors where somebody else keeps them, and the number types they hold.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "error.h"

namespace sparse_export {

// The numbers are ONNX's.
enum ElementType : int {
  element_any = 0,
  element_float = 1,
  element_uint8 = 2,
  element_int8 = 3,
  element_uint16 = 4,
  element_int32 = 6,
  element_int64 = 7,
  element_float16 = 10,
  element_uint32 = 12,
  element_uint64 = 13,
  element_bfloat16 = 16,
};

using Shape = std::vector<int64_t>;

// Element type, shape, first byte. Owns nothing.
struct Tensor {
  int type = element_any;
  Shape shape;
  const void* data = nullptr;
  int64_t count = 0;

  template <class T>
  SPARSE_EXPORT_INLINE const T* as() const {
    return static_cast<const T*>(data);
  }
};

// Product of the dimensions; throws where one is negative or the product passes 2^48.
int64_t checked_count(const Shape& shape);

SPARSE_EXPORT_INLINE float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t magnitude = half & 0x7FFFU;
  if (magnitude >= 0x7C00U) {  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7F800000U | (magnitude << 13));
  }
  // Moving the exponent by a multiplication also handles subnormals exactly.
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude << 13) * 0x1p112F));
}

SPARSE_EXPORT_INLINE float bfloat_to_float(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

// Storage classes of values; each knows how to give a float.
struct Float16 {
  uint16_t bits;
  SPARSE_EXPORT_INLINE operator float() const { return half_to_float(bits); }
};
struct BFloat16 {
  uint16_t bits;
  SPARSE_EXPORT_INLINE operator float() const { return bfloat_to_float(bits); }
};

}  // namespace sparse_export
