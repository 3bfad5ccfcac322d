// BinaryWeightConv* and BinaryWeightMatMul*: layers whose weights are sign bits, activations are floats.
//
// `scale` is alpha times whatever was folded into it, so it may be negative, but not zero, infinite or NaN; `scale` and
// `bias` must be initializers.
#include "kernels/f32_bit/call.h"
#include "layer.h"

namespace sparse_export::f32_bit {
namespace {

struct Bits {
  static constexpr std::array components = {"bits"};
  static constexpr bool constant_scale = true;
  using Weights = bit::Weights;

  static Weights read(const std::vector<Tensor>& components, const ConvGeometry& geometry) {
    return bit::read_weights(components, geometry.outputs, geometry.columns());
  }
  static void prepare() { kernels(); }
  void run(const Pool& pool, const LayerCall& call, const Weights& weights) const {
    f32_bit::run(pool, {call, weights});
  }
};

}  // namespace

void add_operators(Operators& operators) { add_float_layers<Bits>(operators, "f32_bit", "BinaryWeight"); }

}  // namespace sparse_export::f32_bit
