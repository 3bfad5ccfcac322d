#include "read.h"

#include <cmath>

namespace sparse_export {
namespace {

void infer_window(const ConvGeometry& geometry, const std::vector<Dimension>& input, std::vector<Dimension>& output) {
  output.assign({input[0], {geometry.outputs, ""}});
  for (size_t axis = 2 - static_cast<size_t>(geometry.rank); axis < 2; ++axis) {
    const int64_t extent = input[axis + input.size() - 2].value;
    output.push_back({extent < 0 ? -1 : output_extent(geometry, axis, extent), ""});
  }
}

}  // namespace

ConvGeometry read_conv(const KernelInfo& info) {
  return conv_geometry({info.integers("shape", 4), info.integers("strides", 2), info.integers("pads", 4),
                        info.integers("dilations", 2), info.integer("group")});
}

ConvGeometry read_matrix(const KernelInfo& info) { return matrix_geometry(info.integers("shape", 4)); }

ConvGeometry read_pool(const KernelInfo& info) {
  return pool_geometry(info.integers("kernel_shape", 2), info.integers("strides", 2), info.integers("pads", 4));
}

Activation read_activation(const Variant& variant, const KernelInfo& info) {
  Activation activation = variant.activation;
  if (variant.low_attribute != nullptr) {
    activation.low = info.number(variant.low_attribute);
  }
  if (variant.high_attribute != nullptr) {
    activation.high = info.number(variant.high_attribute);
  }
  require(activation.low <= activation.high, "attribute 'min' is above 'max', or one is not a number");
  return activation;
}

std::vector<Tensor> read_components(const KernelInfo& info, const char* const* names, size_t count) {
  std::vector<Tensor> parts;
  for (size_t i = 0; i < count; ++i) {
    parts.push_back(info.constant(1 + i, names[i]));
  }
  return parts;
}

const float* read_vector(const KernelInfo& info, size_t index, const char* name, int64_t count, bool nonzero) {
  const Tensor vector = info.constant(index, name);
  const std::string where = std::string("input '") + name + "' ";
  if (vector.type != element_float || vector.shape.size() != 1 || vector.shape[0] != count) {
    throw Error(where + "must be float32 with one entry for each output");
  }
  for (int64_t i = 0; i < count; ++i) {
    const float value = vector.as<float>()[i];
    if (!std::isfinite(value) || (nonzero && value == 0)) {
      throw Error(where + "must be finite" + (nonzero ? " and not zero" : ""));
    }
  }
  return vector.as<float>();
}

Tensor read_x(const Context& context, ElementType type) {
  Tensor x = context.input(0, "X");
  require(x.type == type, type == element_uint8 ? "input 'X' must be uint8" : "input 'X' must be float32");
  return x;
}

bool infer_conv(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output) {
  ConvAttributes attributes;
  if (!context.integers("shape", 4, attributes.shape) || !context.integers("strides", 2, attributes.strides) ||
      !context.integers("pads", 4, attributes.pads) || !context.integers("dilations", 2, attributes.dilations) ||
      input.size() != attributes.shape.size()) {
    return false;
  }
  infer_window(conv_geometry(attributes), input, output);
  return true;
}

bool infer_pool(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output) {
  std::vector<int64_t> kernel, strides, pads;
  if (!context.integers("kernel_shape", 2, kernel) || !context.integers("strides", 2, strides) ||
      !context.integers("pads", 4, pads) || input.size() != 4) {
    return false;
  }
  infer_window(pool_geometry(kernel, strides, pads), input, output);
  return true;
}

bool infer_matrix(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output) {
  std::vector<int64_t> shape;
  if (input.empty() || !context.integers("shape", 4, shape) || shape.size() != 2) {
    return false;
  }
  output = input;
  output.back() = {shape[0], ""};
  return true;
}

}  // namespace sparse_export
