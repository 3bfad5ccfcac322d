#include "geometry.h"

namespace sparse_export {
namespace {

constexpr int64_t max_dim = int64_t{1} << 31;   // an offset within a row of the weight fits 32 bits
constexpr int64_t max_step = int64_t{1} << 20;  // strides, pads and dilations

// The last `rank` entries of a two-element array: the height of a 1-D convolution stays at its default.
void place(const std::vector<int64_t>& values, size_t from, size_t rank, std::array<int64_t, 2>& out) {
  for (size_t i = 0; i < rank; ++i) {
    out[2 - rank + i] = values[from + i];
  }
}

void check_shape(const std::vector<int64_t>& shape) {
  require(shape.size() == 3 || shape.size() == 4, "attribute 'shape' must have 3 or 4 dimensions");
  for (const int64_t dim : shape) {
    require(dim > 0 && dim < max_dim, "attribute 'shape' must hold positive dimensions below 2^31");
  }
  require(checked_count(shape) / shape[0] < max_dim, "attribute 'shape': a row has more than 2^31 weights");
}

void check_window(const ConvAttributes& attributes) {
  const auto& [shape, strides, pads, dilations, group] = attributes;
  const size_t rank = shape.size() - 2;
  require(strides.size() == rank, "attribute 'strides' has the wrong length");
  require(dilations.size() == rank, "attribute 'dilations' has the wrong length");
  require(pads.size() == 2 * rank, "attribute 'pads' has the wrong length");
  for (const int64_t value : strides) {
    require(value > 0 && value <= max_step, "attribute 'strides' must be positive and at most 2^20");
  }
  for (const int64_t value : dilations) {
    require(value > 0 && value <= max_step, "attribute 'dilations' must be positive and at most 2^20");
  }
  for (const int64_t value : pads) {
    require(value >= 0 && value <= max_step, "attribute 'pads' must not be negative and at most 2^20");
  }
  require(group > 0 && shape[0] % group == 0, "attribute 'group' does not divide the output channels");
  require(shape[1] <= max_dim / group, "attribute 'group': too many input channels");
}

}  // namespace

ConvGeometry conv_geometry(const ConvAttributes& attributes) {
  const auto& [shape, strides, pads, dilations, group] = attributes;
  check_shape(shape);
  check_window(attributes);
  const size_t rank = shape.size() - 2;
  ConvGeometry geometry;
  geometry.rank = static_cast<int64_t>(rank);
  geometry.outputs = shape[0];
  geometry.channels = shape[1] * group;
  geometry.groups = group;
  place(shape, 2, rank, geometry.kernel);
  place(strides, 0, rank, geometry.strides);
  place(dilations, 0, rank, geometry.dilations);
  place(pads, 0, rank, geometry.begin);
  place(pads, rank, rank, geometry.end);
  return geometry;
}

ConvGeometry pool_geometry(const std::vector<int64_t>& kernel, const std::vector<int64_t>& strides,
                           const std::vector<int64_t>& pads) {
  require(kernel.size() == 2, "attribute 'kernel_shape' must have 2 dimensions");
  ConvGeometry geometry = conv_geometry({{1, 1, kernel[0], kernel[1]}, strides, pads, {1, 1}, 1});
  for (size_t i = 0; i < pads.size(); ++i) {
    require(pads[i] < kernel[i % 2], "attribute 'pads' must be smaller than the window");
  }
  return geometry;
}

ConvGeometry matrix_geometry(const std::vector<int64_t>& shape) {
  require(shape.size() == 2, "attribute 'shape' must have 2 dimensions");
  require(shape[0] > 0 && shape[0] < max_dim && shape[1] > 0 && shape[1] < max_dim,
          "attribute 'shape' must hold positive dimensions below 2^31");
  ConvGeometry geometry;
  geometry.outputs = shape[0];
  geometry.channels = shape[1];
  return geometry;
}

int64_t output_extent(const ConvGeometry& geometry, size_t axis, int64_t input) {
  const int64_t window = geometry.dilations[axis] * (geometry.kernel[axis] - 1) + 1;
  const int64_t padded = input + geometry.begin[axis] + geometry.end[axis];
  return padded < window ? -1 : (padded - window) / geometry.strides[axis] + 1;
}

ConvSize conv_size(const ConvGeometry& geometry, const Shape& input) {
  require(input.size() == static_cast<size_t>(geometry.rank) + 2, "input 'X' has the wrong rank");
  require(input[1] == geometry.channels, "input 'X' has the wrong number of channels");
  ConvSize size;
  size.batch = input[0];
  for (size_t axis = 0; axis < 2; ++axis) {
    size.input[axis] = axis == 0 && geometry.rank == 1 ? 1 : input[input.size() - 2 + axis];
    require(size.input[axis] < max_dim, "input 'X' is too large");
    size.output[axis] = output_extent(geometry, axis, size.input[axis]);
    require(size.output[axis] > 0, "input 'X' is smaller than the window");
  }
  checked_count({size.batch, geometry.outputs, size.output[0], size.output[1]});
  return size;
}

Shape conv_output(const ConvGeometry& geometry, const ConvSize& size) {
  if (geometry.rank == 1) {
    return {size.batch, geometry.outputs, size.output[1]};
  }
  return {size.batch, geometry.outputs, size.output[0], size.output[1]};
}

ConvSize matrix_size(const ConvGeometry& geometry, const Shape& input) {
  require(!input.empty() && input.back() == geometry.channels, "input 'X': the last dimension is wrong");
  ConvSize size;
  size.batch = checked_count(input) / geometry.channels;
  size.input = size.output = {1, 1};
  return size;
}

Shape matrix_output(const ConvGeometry& geometry, Shape input) {
  input.back() = geometry.outputs;
  checked_count(input);
  return input;
}

}  // namespace sparse_export
