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
#include "kernels/bit_bit/call.h"
#include "layer.h"

namespace sparse_export::bit_bit {
namespace {

int64_t bytes_of(int64_t channels) { return (channels + 7) / 8; }

template <bool packed>
constexpr ElementType element = packed ? element_uint8 : element_float;

struct Bits {
  static constexpr std::array components = {"bits"};
  using Weights = bit::Weights;

  static Weights read(const std::vector<Tensor>& components, const ConvGeometry& geometry) {
    return bit::read_weights(components, geometry.outputs, geometry.columns());
  }
  static void prepare() { kernels(); }
};

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

// The axis of the channels in unpacked activations; packed ones have them last.
template <Twin twin>
size_t channel_axis(size_t rank) {
  return twin == Twin::conv ? 1 : rank - 1;
}

template <Twin twin, bool packed_x, bool packed_y>
class BitLayer : public Layer<Bits, twin> {
  using Base = Layer<Bits, twin>;

 public:
  static constexpr ElementType x_type = element<packed_x>, y_type = element<packed_y>;

  BitLayer(const Variant& variant, const KernelInfo& info)
      : Base(variant, info),
        scale_(read_vector(info, this->inputs_.scale, "scale", this->geometry_.outputs, true)),
        bias_(read_vector(info, this->inputs_.bias, "bias", this->geometry_.outputs, false)) {
    const ConvGeometry& g = this->geometry_;
    require(!(packed_x || packed_y) || g.rank == 2, "attribute 'shape': packed signs have two spatial dimensions");
    if (packed_y) {
      require(g.groups == 1 || g.outputs_per_group() % 8 == 0,
              "attribute 'group': packed results need a multiple of 8 outputs for each group");
      rules_ = sign_rules(this->weights_, scale_, bias_);
    }
  }

  void compute(const Context& context) const {
    const ConvGeometry& g = this->geometry_;
    const Tensor x = read_x(context, x_type);
    auto [size, shape] = layer_shape<twin>(g, packed_x ? unpacked_input(x.shape) : x.shape);
    const float* residual = this->residual(context, shape);
    if (packed_y) {
      move_to(shape, channel_axis<twin>(shape.size()), shape.size() - 1);
      shape.back() = bytes_of(g.outputs);
    }
    void* y = context.output<void>(0, shape);
    const LayerCall layer{g,
                          size,
                          twin == Twin::matmul,
                          packed_x ? nullptr : x.as<float>(),
                          {scale_, bias_, residual, this->activation_},
                          packed_y ? nullptr : static_cast<float*>(y)};
    run(context, {layer, this->weights_, packed_x ? x.as<uint8_t>() : nullptr,
                  packed_y ? static_cast<uint8_t*>(y) : nullptr, packed_y ? rules_.data() : nullptr});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) {
    std::vector<Dimension> input;
    if (!context.input_shape(0, input) || input.size() < (twin == Twin::conv ? 3 : 1)) {
      return false;
    }
    if (packed_x) {
      move_to(input, input.size() - 1, channel_axis<twin>(input.size()));
    }
    if (!infer_layer<twin>(context, input, output)) {
      return false;
    }
    if (packed_y) {
      move_to(output, channel_axis<twin>(output.size()), output.size() - 1);
      output.back() = {bytes_of(output.back().value), ""};
    }
    return true;
  }

 private:
  // The shape X would have as floats.
  Shape unpacked_input(Shape shape) const {
    require(twin == Twin::matmul || shape.size() == static_cast<size_t>(this->geometry_.rank) + 2,
            "input 'X' has the wrong rank");
    shape = unpacked(std::move(shape), this->geometry_.channels);
    move_to(shape, shape.size() - 1, channel_axis<twin>(shape.size()));
    return shape;
  }

  const float* scale_;
  const float* bias_;
  std::vector<SignRule> rules_;
};

// X uint8 [N, H, W, bytes], `falling` uint8 [bytes]: bits of the channels whose smallest sign is taken.
class MaxPool {
 public:
  static constexpr ElementType x_type = element_uint8, y_type = element_uint8;

  MaxPool(const Variant&, const KernelInfo& info) : window_(read_pool(info)) {
    const Tensor falling = info.constant(1, "falling");
    require(falling.type == element_uint8 && falling.shape.size() == 1 && falling.count > 0,
            "input 'falling' must be uint8 with one entry for each byte of a pixel");
    falling_ = falling.as<uint8_t>();
    bytes_ = falling.count;
  }

  void compute(const Context& context) const {
    const Tensor x = read_x(context, element_uint8);
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

template <Twin twin>
void add_twin(Operators& operators) {
  const char* layer = name_of(twin);
  constexpr bool with_residual = twin == Twin::conv;
  constexpr Variant sign{"Sign", false, {}, nullptr, nullptr};
  operators.add_variants<BitLayer<twin, false, false>>("bit_bit", "Xnor", layer, with_residual);
  operators.add_variants<BitLayer<twin, true, false>>("bit_bit", "XnorPacked", layer, with_residual);
  operators.add<BitLayer<twin, false, true>>("bit_bit", "Xnor", layer, sign);
  operators.add<BitLayer<twin, true, true>>("bit_bit", "XnorPacked", layer, sign);
}

}  // namespace

void add_operators(Operators& operators) {
  add_twin<Twin::conv>(operators);
  add_twin<Twin::matmul>(operators);
  operators.add<MaxPool>("bit_bit", "Xnor", "MaxPool", variants[0]);
}

}  // namespace sparse_export::bit_bit
