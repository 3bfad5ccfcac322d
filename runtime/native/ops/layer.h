// A convolution or a matrix product around a kernel: what the twins of every family share.
//
// A family has
//   static constexpr std::array<const char*, n> components;   // in the order of the operators' inputs
//   using Weights;                                            // views into the components, checked
//   static Weights read(const std::vector<Tensor>& components, const ConvGeometry& geometry);  // or with bool matrix
//   static void prepare();                                    // throws where the CPU lacks the target
//   static constexpr bool sized_by_scale;                     // optional: `scale` must be an initializer
#pragma once

#include "ort/op.h"
#include "ort/threads.h"

namespace sparse_export {

enum class Twin { conv, matmul };

inline const char* name_of(Twin twin) { return twin == Twin::conv ? "Conv" : "MatMul"; }

// Where a layer's X becomes a size, and its output a shape.
struct LayerShape {
  ConvSize size;
  Shape output;
};

template <Twin twin>
LayerShape layer_shape(const ConvGeometry& geometry, const Shape& x) {
  if constexpr (twin == Twin::conv) {
    const ConvSize size = conv_size(geometry, x);
    return {size, conv_output(geometry, size)};
  } else {
    return {matrix_size(geometry, x), matrix_output(geometry, x)};
  }
}

template <Twin twin>
ConvGeometry read_layer(const KernelInfo& info) {
  return twin == Twin::conv ? read_conv(info) : read_matrix(info);
}

template <Twin twin>
bool infer_layer(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output) {
  return twin == Twin::conv ? infer_conv(context, input, output) : infer_matrix(context, input, output);
}

// What every layer reads when its kernel is created.
template <class Family, Twin twin>
class Layer {
 public:
  static constexpr auto components = Family::components;

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) {
    std::vector<Dimension> input;
    return context.input_shape(0, input) && infer_layer<twin>(context, input, output);
  }

 protected:
  Layer(const Variant& variant, const KernelInfo& info)
      : geometry_(read_sized(variant, info)),
        weights_(read_weights(info, geometry_)),
        activation_(read_activation(variant, info)),
        inputs_(input_layout<Layer>(variant.residual)),
        residual_(variant.residual) {
    Family::prepare();  // an unusable SPARSE_EXPORT_TARGET fails here, when the session is created
  }

  // Where the components do not say how many rows there are, `scale` must: nothing larger than the file is allocated.
  static ConvGeometry read_sized(const Variant& variant, const KernelInfo& info) {
    const ConvGeometry geometry = read_layer<twin>(info);
    if constexpr (requires { Family::sized_by_scale; }) {
      const Tensor scale = info.constant(input_layout<Layer>(variant.residual).scale, "scale");
      require(scale.count == geometry.outputs, "input 'scale' must have one entry for each output");
    }
    return geometry;
  }

  static auto read_weights(const KernelInfo& info, const ConvGeometry& geometry) {
    const std::vector<Tensor> parts = read_components(info, components.data(), components.size());
    if constexpr (requires { Family::read(parts, geometry, twin == Twin::matmul); }) {
      return Family::read(parts, geometry, twin == Twin::matmul);
    } else {
      return Family::read(parts, geometry);
    }
  }

  const float* residual(const Context& context, const Shape& shape) const {
    return residual_ ? context.floats(inputs_.residual, "Z", shape) : nullptr;
  }

  ConvGeometry geometry_;
  typename Family::Weights weights_;
  Activation activation_;
  InputLayout inputs_;
  bool residual_;
};

// A layer of float activations. The family also has
//   static constexpr bool constant_scale;   // scale and bias must be initializers, finite, no scale zero
//   static void run(const Pool&, [size_t threads,] const LayerCall&, const Weights&);
template <class Family, Twin twin>
class FloatLayer : public Layer<Family, twin> {
 public:
  static constexpr bool constant_scale = Family::constant_scale;

  FloatLayer(const Variant& variant, const KernelInfo& info) : Layer<Family, twin>(variant, info) {
    if constexpr (constant_scale) {
      scale_ = read_vector(info, this->inputs_.scale, "scale", this->geometry_.outputs, true);
      bias_ = read_vector(info, this->inputs_.bias, "bias", this->geometry_.outputs, false);
    }
  }

  void compute(const Context& context) const {
    const Tensor x = read_x(context, element_float);
    const auto [size, shape] = layer_shape<twin>(this->geometry_, x.shape);
    const int64_t rows = this->geometry_.outputs;
    Epilogue epilogue{scale_, bias_, nullptr, this->activation_};
    if constexpr (!constant_scale) {
      epilogue.scale = context.floats(this->inputs_.scale, "scale", rows);
      epilogue.bias = context.floats(this->inputs_.bias, "bias", rows);
    }
    epilogue.residual = this->residual(context, shape);
    const LayerCall call{this->geometry_, size,     twin == Twin::matmul,
                         x.as<float>(),   epilogue, context.output(0, shape)};
    if constexpr (requires { Family::run(context, size_t{1}, call, this->weights_); }) {
      Family::run(context, threads_.get(context), call, this->weights_);
    } else {
      Family::run(context, call, this->weights_);
    }
  }

 private:
  const float* scale_ = nullptr;
  const float* bias_ = nullptr;
  ThreadCount threads_;
};

}  // namespace sparse_export
