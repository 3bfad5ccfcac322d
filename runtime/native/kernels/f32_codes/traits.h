// The kernel as its operators (ops/float_layers.cpp) and the programs of fuzz/ see it: weights that are sign bits.
//
// `scale` is alpha times whatever was folded into it, so it may be negative, but not zero, infinite or NaN; `scale` and
// `bias` must be initializers.
#pragma once

#include <array>

#include "call.h"

namespace sparse_export::f32_codes {

struct Traits {
  static constexpr std::array components = {"bits"};
  static constexpr bool constant_scale = true;
  using Weights = f32_codes::Weights;

  static Weights read(const std::vector<Tensor>& components, const ConvGeometry& geometry) {
    return read_bits(components, geometry.outputs, geometry.columns(), geometry.groups);
  }
  static void prepare() { kernels(); }
  static void run(const Pool& pool, const LayerCall& call, const Weights& weights) {
    f32_codes::run(pool, {call, weights});
  }
};

}  // namespace sparse_export::f32_codes
