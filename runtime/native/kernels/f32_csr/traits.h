// The kernel as its operators (ops/float_layers.cpp) and the programs of fuzz/ see it.
#pragma once

#include <array>

#include "call.h"

namespace sparse_export::f32_csr {

struct Traits {
  static constexpr std::array components = {"indptr", "gaps", "values"};
  static constexpr bool constant_scale = false;
  using Weights = f32_csr::Weights;

  static Weights read(const std::vector<Tensor>& components, const ConvGeometry& geometry) {
    return read_weights(components, geometry.outputs, geometry.columns());
  }
  static void prepare() { kernels(); }
  static void run(const Pool& pool, size_t threads, const LayerCall& call, const Weights& weights) {
    f32_csr::run(pool, threads, {call, weights});
  }
};

}  // namespace sparse_export::f32_csr
