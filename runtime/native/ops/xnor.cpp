// Xnor*: layers whose weights and activations are sign bits.
//
//   XnorConv, XnorMatMul               take the signs of float activations
//   XnorPackedConv, XnorPackedMatMul   get them packed: uint8 [N, H, W, ceil(C / 8)] or [..., ceil(C / 8)]
//   ...Sign                            give the packed signs of their result
//   XnorMaxPool                        packed signs to packed signs
//
// The sign of an activation x is +1 where x >= 0 (0 and -0 included), else -1 (NaN included). Zero padding of a
// convolution comes after the sign: it adds nothing. Packed bits are 1 where the sign is -1, channels least significant
// bit first; the bits past the last channel are written as zeros and ignored when read. `scale` is alpha times whatever
// was folded into it, so it may be negative, but not zero, infinite or NaN; `scale` and `bias` must be initializers.
#include "../kernels/xnor.h"

namespace sparse_export {
namespace {

int64_t bytes_of(int64_t channels) { return (channels + 7) / 8; }

template <bool packed>
constexpr int element = packed ? abi::element_uint8 : abi::element_float;

Tensor read_x(const Context& context, bool packed) {
  Tensor x = context.input(0, "X");
  require(packed ? x.type == abi::element_uint8 : x.type == abi::element_float,
          packed ? "input 'X' must be uint8" : "input 'X' must be float32");
  return x;
}

// Replaces the last dimension of packed activations, bytes, by their channels.
Shape unpacked(Shape shape, int64_t channels) {
  require(!shape.empty() && shape.back() == bytes_of(channels),
          "input 'X': the last dimension must be ceil(channels / 8) bytes");
  shape.back() = channels;
  return shape;
}

template <class T>
void move_to(std::vector<T>& shape, size_t from, size_t to) {
  const T moved = shape[from];
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(from));
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(to), moved);
}

template <bool packed_x, bool packed_y>
class XnorConv {
 public:
  static constexpr std::array<const char*, 1> components = {"bits"};
  static constexpr int x_type = element<packed_x>, y_type = element<packed_y>;

  XnorConv(const Variant& variant, const KernelInfo& info)
      : geometry_(read_geometry(info)),
        weights_(read_bits(info, 1, {geometry_.outputs, geometry_.columns()})),
        bounds_(read_bounds(variant, info)),
        layout_(input_layout<XnorConv>(variant.residual)),
        residual_(variant.residual),
        scale_(read_vector(info, layout_.scale, "scale", geometry_.outputs, true)),
        bias_(read_vector(info, layout_.bias, "bias", geometry_.outputs, false)) {
    require(!(packed_x || packed_y) || geometry_.rank == 2, "attribute 'shape': packed signs have two spatial dimensions");
    if (packed_y) {
      require(geometry_.groups == 1 || geometry_.outputs_per_group() % 8 == 0,
              "attribute 'group': packed results need a multiple of 8 outputs for each group");
      rules_ = sign_rules(weights_, scale_, bias_);
    }
    xnor_kernels();  // an unusable SPARSE_EXPORT_TARGET fails here, when the session is created
  }

  void compute(const Context& context) const {
    const Tensor x = read_x(context, packed_x);
    Shape input = x.shape;
    if (packed_x) {
      require(input.size() == static_cast<size_t>(geometry_.rank) + 2, "input 'X' has the wrong rank");
      input = unpacked(input, geometry_.channels);
      move_to(input, input.size() - 1, 1);
    }
    const ConvSize size = conv_size(geometry_, input);
    Shape shape = conv_output(geometry_, size);
    const float* residual = residual_ ? context.floats(layout_.residual, "Z", shape) : nullptr;
    if (packed_y) {
      move_to(shape, 1, shape.size() - 1);
      shape.back() = bytes_of(geometry_.outputs);
    }
    void* y = context.output<void>(0, shape);
    run_xnor(context, {{weights_, geometry_, size, false, packed_x ? nullptr : x.as<float>(), scale_, bias_, residual,
                        bounds_, packed_y ? nullptr : static_cast<float*>(y)},
                       packed_x ? x.as<uint8_t>() : nullptr, packed_y ? static_cast<uint8_t*>(y) : nullptr,
                       packed_y ? rules_.data() : nullptr});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) {
    std::vector<Dimension> input;
    if (!context.input_shape(0, input) || input.size() < 3) {
      return false;
    }
    if (packed_x) {
      move_to(input, input.size() - 1, 1);
    }
    if (!infer_conv(context, input, output)) {
      return false;
    }
    if (packed_y) {
      move_to(output, 1, output.size() - 1);
      output.back() = {bytes_of(output.back().value), ""};
    }
    return true;
  }

 private:
  ConvGeometry geometry_;
  BitWeights weights_;
  Bounds bounds_;
  InputLayout layout_;
  bool residual_;
  const float* scale_;
  const float* bias_;
  std::vector<SignRule> rules_;
};

template <bool packed_x, bool packed_y>
class XnorMatMul {
 public:
  static constexpr std::array<const char*, 1> components = {"bits"};
  static constexpr int x_type = element<packed_x>, y_type = element<packed_y>;

  XnorMatMul(const Variant& variant, const KernelInfo& info)
      : weights_(read_bits(info, 1, read_matrix_shape(info))),
        bounds_(read_bounds(variant, info)),
        scale_(read_vector(info, input_layout<XnorMatMul>(false).scale, "scale", weights_.rows, true)),
        bias_(read_vector(info, input_layout<XnorMatMul>(false).bias, "bias", weights_.rows, false)) {
    geometry_.outputs = weights_.rows;
    geometry_.channels = weights_.columns;
    if (packed_y) {
      rules_ = sign_rules(weights_, scale_, bias_);
    }
    xnor_kernels();
  }

  void compute(const Context& context) const {
    const Tensor x = read_x(context, packed_x);
    auto [size, shape] = matrix_size(packed_x ? unpacked(x.shape, weights_.columns) : x.shape, weights_.columns,
                                     weights_.rows);
    if (packed_y) {
      shape.back() = bytes_of(weights_.rows);
    }
    void* y = context.output<void>(0, shape);
    run_xnor(context, {{weights_, geometry_, size, true, packed_x ? nullptr : x.as<float>(), scale_, bias_, nullptr,
                        bounds_, packed_y ? nullptr : static_cast<float*>(y)},
                       packed_x ? x.as<uint8_t>() : nullptr, packed_y ? static_cast<uint8_t*>(y) : nullptr,
                       packed_y ? rules_.data() : nullptr});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) {
    if (!infer_matmul(context, output)) {
      return false;
    }
    if (packed_y) {
      output.back() = {bytes_of(output.back().value), ""};
    }
    return true;
  }

 private:
  BitWeights weights_;
  ConvGeometry geometry_;
  Bounds bounds_;
  const float* scale_;
  const float* bias_;
  std::vector<SignRule> rules_;
};

// X uint8 [N, H, W, bytes], `falling` uint8 [bytes]: bits of the channels whose smallest sign is taken.
class XnorMaxPool {
 public:
  static constexpr int x_type = abi::element_uint8, y_type = abi::element_uint8;

  XnorMaxPool(const Variant&, const KernelInfo& info) : window_(read_window(info)) {
    const Tensor falling = info.constant(1, "falling");
    require(falling.type == abi::element_uint8 && falling.shape.size() == 1 && falling.count > 0,
            "input 'falling' must be uint8 with one entry for each byte of a pixel");
    falling_ = falling.as<uint8_t>();
    bytes_ = falling.count;
  }

  void compute(const Context& context) const {
    const Tensor x = read_x(context, true);
    require(x.shape.size() == 4, "input 'X' has the wrong rank");
    require(x.shape.back() == bytes_, "input 'X': the last dimension must be the length of 'falling'");
    Shape input = x.shape;
    input.back() = 1;
    move_to(input, input.size() - 1, 1);
    const ConvSize size = conv_size(window_, input);
    Shape shape = conv_output(window_, size);
    move_to(shape, 1, shape.size() - 1);
    shape.back() = bytes_;
    checked_count(shape);
    run_pool(context, {window_, size, bytes_, x.as<uint8_t>(), falling_, context.output<uint8_t>(0, shape)});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) {
    std::vector<Dimension> input;
    if (!context.input_shape(0, input) || input.size() != 4) {
      return false;
    }
    const Dimension bytes = input.back();
    move_to(input, input.size() - 1, 1);
    if (!infer_pool(context, input, output)) {
      return false;
    }
    move_to(output, 1, output.size() - 1);
    output.back() = bytes;
    return true;
  }

 private:
  ConvGeometry window_;
  const uint8_t* falling_ = nullptr;
  int64_t bytes_ = 0;
};

template <template <bool, bool> class Kernel>
void add_family(Operators& operators, const OrtApi* api, const std::string& layer, bool with_residual) {
  add_operators<Kernel<false, false>>(operators, api, "Xnor" + layer, with_residual);
  add_operators<Kernel<true, false>>(operators, api, "XnorPacked" + layer, with_residual);
  add_operator<Kernel<false, true>>(operators, api, "Xnor" + layer + "Sign", variants[0]);
  add_operator<Kernel<true, true>>(operators, api, "XnorPacked" + layer + "Sign", variants[0]);
}

}  // namespace

void add_xnor_operators(Operators& operators, const OrtApi* api) {
  add_family<XnorConv>(operators, api, "Conv", true);
  add_family<XnorMatMul>(operators, api, "MatMul", false);
  add_operator<XnorMaxPool>(operators, api, "XnorMaxPool", variants[0]);
}

}  // namespace sparse_export
