// A convolution's shape: weights [K, C/group, S] or [K, C/group, R, S], windows, output size.
#pragma once

#include <array>

#include "tensor.h"

namespace sparse_export {

// 1-D convolutions are 2-D ones of height 1.
struct ConvGeometry {
  int64_t rank = 2;                               // spatial dimensions the model sees
  int64_t outputs = 0, channels = 0, groups = 1;  // `channels` of the whole input
  std::array<int64_t, 2> kernel{1, 1}, strides{1, 1}, dilations{1, 1}, begin{0, 0}, end{0, 0};

  SPARSE_EXPORT_INLINE int64_t channels_per_group() const { return channels / groups; }
  SPARSE_EXPORT_INLINE int64_t outputs_per_group() const { return outputs / groups; }
  SPARSE_EXPORT_INLINE int64_t columns() const { return channels_per_group() * kernel[0] * kernel[1]; }
};

// Height and width of an input and of the output it gives.
struct ConvSize {
  int64_t batch = 0;
  std::array<int64_t, 2> input{0, 0}, output{0, 0};
};

// The attributes of a convolution: `shape` is the weight's, [K, C/group, S] or [K, C/group, R, S].
struct ConvAttributes {
  std::vector<int64_t> shape, strides, pads, dilations;
  int64_t group = 1;
};

// Checks every attribute.
ConvGeometry conv_geometry(const ConvAttributes& attributes);

// Checks the window of a pooling operator, a convolution from one channel to one.
ConvGeometry pool_geometry(const std::vector<int64_t>& kernel, const std::vector<int64_t>& strides,
                           const std::vector<int64_t>& pads);

// Checks the [outputs, inputs] of a matrix product, a convolution of one pixel.
ConvGeometry matrix_geometry(const std::vector<int64_t>& shape);

// Checks X against the geometry; throws where the window does not fit or the output would be too large.
ConvSize conv_size(const ConvGeometry& geometry, const Shape& input);

Shape conv_output(const ConvGeometry& geometry, const ConvSize& size);

// Checks X [..., inputs] of a matrix product whose dimensions but the last are rows; each is an image of one pixel.
ConvSize matrix_size(const ConvGeometry& geometry, const Shape& input);

// The shape of X but for the last dimension.
Shape matrix_output(const ConvGeometry& geometry, Shape input);

// Output extent along one axis, or -1 where the dilated window is larger than the padded input.
int64_t output_extent(const ConvGeometry& geometry, size_t axis, int64_t input);

}  // namespace sparse_export
