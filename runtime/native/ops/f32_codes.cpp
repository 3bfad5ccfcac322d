// BinaryWeightConv* and BinaryWeightMatMul*: layers whose weights are sign bits, activations are floats.
//
// `scale` is alpha times whatever was folded into it, so it may be negative, but not zero, infinite or NaN; `scale` and
// `bias` must be initializers.
#include "kernels/f32_codes/call.h"
#include "layer.h"

namespace sparse_export::f32_codes {
namespace {

struct Bits {
  static constexpr std::array components = {"bits"};
  static constexpr bool constant_scale = true;
  using Weights = f32_codes::Weights;

  static Weights read(const std::vector<Tensor>& components, const ConvGeometry& geometry) {
    return read_bits(components, geometry.outputs, geometry.columns(), geometry.groups);
  }
  static void prepare() { kernels(); }
  void run(const Pool& pool, const LayerCall& call, const Weights& weights) const {
    f32_codes::run(pool, {call, weights});
  }
};

}  // namespace

void add_operators(Operators& operators) { add_float_layers<Bits>(operators, "f32_codes", "BinaryWeight"); }

}  // namespace sparse_export::f32_codes
