// BinaryWeight* and Xnor*: layers whose weights are sign bits; Xnor* take the sign of their activations too.
//
// The sign of an activation x is +1 where x >= 0 (0 and -0 included), else -1 (NaN included). Zero padding of an
// XnorConv comes after the sign: it adds nothing. `scale` is alpha times whatever was folded into it, so it may be
// negative, but not zero, infinite or NaN; `scale` and `bias` must be initializers.
#include "../kernels/binary.h"

namespace sparse_export {
namespace {

using Run = void (*)(const Context&, const BitCall&);

// Fails where SPARSE_EXPORT_TARGET is unusable: when the session is created, not at the first call.
void probe_targets() {
  binary_kernels();
  xnor_kernels();
}

template <Run run>
class BitConv {
 public:
  static constexpr std::array<const char*, 1> components = {"bits"};

  BitConv(const Variant& variant, const KernelInfo& info)
      : geometry_(read_geometry(info)),
        weights_(read_bits(info, 1, geometry_.outputs, geometry_.columns())),
        bounds_(read_bounds(variant, info)),
        layout_(input_layout<BitConv>(variant.residual)),
        residual_(variant.residual),
        scale_(read_vector(info, layout_.scale, "scale", geometry_.outputs, true)),
        bias_(read_vector(info, layout_.bias, "bias", geometry_.outputs, false)) {
    probe_targets();
  }

  void compute(const Context& context) const {
    const Tensor x = context.input(0, "X");
    require(x.type == abi::element_float, "input 'X' must be float32");
    const ConvSize size = conv_size(geometry_, x.shape);
    const Shape shape = conv_output(geometry_, size);
    const float* residual = residual_ ? context.floats(layout_.residual, "Z", shape) : nullptr;
    run(context, {weights_, geometry_, size, false, x.as<float>(), scale_, bias_, residual, bounds_,
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

template <Run run>
class BitMatMul {
 public:
  static constexpr std::array<const char*, 1> components = {"bits"};

  BitMatMul(const Variant& variant, const KernelInfo& info)
      : weights_(read_weights(info)),
        bounds_(read_bounds(variant, info)),
        scale_(read_vector(info, input_layout<BitMatMul>(false).scale, "scale", weights_.rows, true)),
        bias_(read_vector(info, input_layout<BitMatMul>(false).bias, "bias", weights_.rows, false)) {
    geometry_.outputs = weights_.rows;
    geometry_.channels = weights_.columns;
    probe_targets();
  }

  void compute(const Context& context) const {
    const Tensor x = context.input(0, "X");
    require(x.type == abi::element_float, "input 'X' must be float32");
    require(!x.shape.empty() && x.shape.back() == weights_.columns, "input 'X': the last dimension is wrong");
    ConvSize size;
    size.batch = x.count / weights_.columns;
    size.input = size.output = {1, 1};
    Shape shape = x.shape;
    shape.back() = weights_.rows;
    checked_count(shape);
    run(context, {weights_, geometry_, size, true, x.as<float>(), scale_, bias_, nullptr, bounds_,
                  context.output(0, shape)});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) { return infer_matmul(context, output); }

 private:
  static BitWeights read_weights(const KernelInfo& info) {
    const auto [rows, columns] = read_matrix_shape(info);
    return read_bits(info, 1, rows, columns);
  }

  BitWeights weights_;
  ConvGeometry geometry_;
  Bounds bounds_;
  const float* scale_;
  const float* bias_;
};

}  // namespace

void add_binary_operators(Operators& operators, const OrtApi* api) {
  add_operators<BitConv<run_binary>>(operators, api, "BinaryWeightConv", true);
  add_operators<BitMatMul<run_binary>>(operators, api, "BinaryWeightMatMul", false);
  add_operators<BitConv<run_xnor>>(operators, api, "XnorConv", true);
  add_operators<BitMatMul<run_xnor>>(operators, api, "XnorMatMul", false);
}

}  // namespace sparse_export
