// BinaryWeightConv* and BinaryWeightMatMul*: layers whose weights are sign bits, activations are floats.
//
// `scale` is alpha times whatever was folded into it, so it may be negative, but not zero, infinite or NaN; `scale` and
// `bias` must be initializers.
#include "../kernels/binary.h"

namespace sparse_export {
namespace {

class BinaryConv {
 public:
  static constexpr std::array<const char*, 1> components = {"bits"};

  BinaryConv(const Variant& variant, const KernelInfo& info)
      : geometry_(read_geometry(info)),
        weights_(read_bits(info, 1, {geometry_.outputs, geometry_.columns()})),
        bounds_(read_bounds(variant, info)),
        layout_(input_layout<BinaryConv>(variant.residual)),
        residual_(variant.residual),
        scale_(read_vector(info, layout_.scale, "scale", geometry_.outputs, true)),
        bias_(read_vector(info, layout_.bias, "bias", geometry_.outputs, false)) {
    binary_kernels();  // an unusable SPARSE_EXPORT_TARGET fails here, when the session is created
  }

  void compute(const Context& context) const {
    const Tensor x = context.input(0, "X");
    require(x.type == abi::element_float, "input 'X' must be float32");
    const ConvSize size = conv_size(geometry_, x.shape);
    const Shape shape = conv_output(geometry_, size);
    const float* residual = residual_ ? context.floats(layout_.residual, "Z", shape) : nullptr;
    run_binary(context, {weights_, geometry_, size, false, x.as<float>(), scale_, bias_, residual, bounds_,
                         context.output(0, shape)});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) { return infer_conv(context, output); }

 private:
  ConvGeometry geometry_;
  BitWeights weights_;
  Bounds bounds_;
  InputLayout layout_;
  bool residual_;
  const float* scale_;
  const float* bias_;
};

class BinaryMatMul {
 public:
  static constexpr std::array<const char*, 1> components = {"bits"};

  BinaryMatMul(const Variant& variant, const KernelInfo& info)
      : weights_(read_bits(info, 1, read_matrix_shape(info))),
        bounds_(read_bounds(variant, info)),
        scale_(read_vector(info, input_layout<BinaryMatMul>(false).scale, "scale", weights_.rows, true)),
        bias_(read_vector(info, input_layout<BinaryMatMul>(false).bias, "bias", weights_.rows, false)) {
    geometry_.outputs = weights_.rows;
    geometry_.channels = weights_.columns;
    binary_kernels();
  }

  void compute(const Context& context) const {
    const Tensor x = context.input(0, "X");
    require(x.type == abi::element_float, "input 'X' must be float32");
    const auto [size, shape] = matrix_size(x.shape, weights_.columns, weights_.rows);
    run_binary(context, {weights_, geometry_, size, true, x.as<float>(), scale_, bias_, nullptr, bounds_,
                         context.output(0, shape)});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) { return infer_matmul(context, output); }

 private:
  BitWeights weights_;
  ConvGeometry geometry_;
  Bounds bounds_;
  const float* scale_;
  const float* bias_;
};

}  // namespace

void add_binary_operators(Operators& operators, const OrtApi* api) {
  add_operators<BinaryConv>(operators, api, "BinaryWeightConv", true);
  add_operators<BinaryMatMul>(operators, api, "BinaryWeightMatMul", false);
}

}  // namespace sparse_export
