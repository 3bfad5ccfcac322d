// What follows the products of a layer: Y = activation(product * scale + bias (+ residual)).
//
// Once in scalar form (here) and once in vector form (epilogue_vector.h); every kernel and every reference uses these.
// Whether product * scale + bias is one rounding or two is the caller's compilation: see kernels/table.cmake.
//
// A new activation is a row of `variants` here, a line of `activate` here and one of `activate` in epilogue_vector.h.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "error.h"

namespace sparse_export {

// Y = min(max(y, low), high); NaN passes through.
struct Activation {
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
};

// What the suffix of an operator's name means. An activation's parameters are constants of the row, or attributes.
struct Variant {
  const char* suffix;
  bool residual;
  Activation activation;
  const char* low_attribute;  // null: as in `activation`
  const char* high_attribute;
  bool in_floats = false;  // of layers of integers: what sums them
};

inline constexpr std::array<Variant, 6> variants = {{{"", false, {}, nullptr, nullptr},
                                                     {"Relu", false, {.low = 0}, nullptr, nullptr},
                                                     {"Clip", false, {}, "min", "max"},
                                                     {"Add", true, {}, nullptr, nullptr},
                                                     {"AddRelu", true, {.low = 0}, nullptr, nullptr},
                                                     {"AddClip", true, {}, "min", "max"}}};

// Of every output row, and of the whole output.
struct Epilogue {
  const float* scale;
  const float* bias;
  const float* residual;  // null: none; may be Y itself: each element is read before its own is written
  Activation activation;
};

template <class T>
SPARSE_EXPORT_INLINE T activate(T y, const Activation& activation) {
  y = y < T{activation.low} ? T{activation.low} : y;
  return y > T{activation.high} ? T{activation.high} : y;
}

// Before the activation: what the sign of a packed result is taken of.
template <class T>
SPARSE_EXPORT_INLINE T scaled(T product, float scale, float bias) {
  const T y = product * T{scale};
  return y + T{bias};
}

// The output of row k at offset `at`.
SPARSE_EXPORT_INLINE float finish(const Epilogue& epilogue, int64_t k, float product, int64_t at) {
  float y = scaled(product, epilogue.scale[k], epilogue.bias[k]);
  if (epilogue.residual != nullptr) {
    y += epilogue.residual[at];
  }
  return activate(y, epilogue.activation);
}

}  // namespace sparse_export
