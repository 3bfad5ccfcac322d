// The epilogue of one vector of outputs. Internal linkage: every target has its own.
#pragma once

#include "epilogue.h"
#include "simd.h"

namespace sparse_export {
namespace {

// Parameters as vectors, made once for many outputs.
struct ActivationVec {
  Vec low, high;
};

inline ActivationVec spread(const Activation& activation) {
  return {broadcast(activation.low), broadcast(activation.high)};
}

inline Vec activate(Vec y, const ActivationVec& activation) {
  y = y < activation.low ? activation.low : y;
  return y > activation.high ? activation.high : y;
}

// Lanes [0, count) of outputs: products of one row along pixels, or of one pixel along rows.
// `residual` is null, or where the first lane's lies.
inline Vec finish(Vec product, Vec scale, Vec bias, const float* residual, int64_t count,
                  const ActivationVec& activation) {
  Vec y = product * scale;
  y += bias;
  if (residual != nullptr) {
    y += load_lanes(residual, 0, count);
  }
  return activate(y, activation);
}

}  // namespace
}  // namespace sparse_export
