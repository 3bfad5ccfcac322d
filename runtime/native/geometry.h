// A convolution's shape: weights [K, C/group, S] or [K, C/group, R, S], windows, output size.
#pragma once

#include <array>

#include "api.h"

namespace sparse_export {

// 1-D convolutions are 2-D ones of height 1.
struct ConvGeometry {
  int64_t rank = 2;  // spatial dimensions the model sees
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

// Reads and checks every attribute of a Conv operator.
ConvGeometry read_geometry(const KernelInfo& info);

// Checks X against the geometry; throws where the window does not fit or the output would be too large.
ConvSize conv_size(const ConvGeometry& geometry, const Shape& input);

Shape conv_output(const ConvGeometry& geometry, const ConvSize& size);

// Shape inference of every Conv operator; `input` is X's shape, where that is not what the operator gets.
bool infer_conv(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output);
bool infer_conv(const ShapeContext& context, std::vector<Dimension>& output);

// Reads and checks the window of a pooling operator, as a convolution from one channel to one.
ConvGeometry read_window(const KernelInfo& info);

// Shape inference of a pooling operator: the channels stay.
bool infer_pool(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output);

// [outputs, inputs] of a MatMul operator.
std::array<int64_t, 2> read_matrix_shape(const KernelInfo& info);

// Shape inference of every MatMul operator: the last dimension becomes `outputs`.
bool infer_matmul(const ShapeContext& context, std::vector<Dimension>& output);

}  // namespace sparse_export
