// From attributes and inputs of a node to what kernels take.
#pragma once

#include <string>
#include <vector>

#include "api.h"
#include "core/call.h"

namespace sparse_export {

// Reads and checks every attribute of a Conv, a MatMul, a pooling operator.
ConvGeometry read_conv(const KernelInfo& info);
ConvGeometry read_matrix(const KernelInfo& info);
ConvGeometry read_pool(const KernelInfo& info);

// The activation of a variant, with the parameters that are attributes.
Activation read_activation(const Variant& variant, const KernelInfo& info);

// The constant inputs from index 1 on, one for each name.
std::vector<Tensor> read_components(const KernelInfo& info, const char* const* names, size_t count);

// Reads a constant float input of `count` entries; every one must be finite, and none zero where `nonzero`.
const float* read_vector(const KernelInfo& info, size_t index, const char* name, int64_t count, bool nonzero);

// X as an operator takes it: throws unless it has this element type.
Tensor read_x(const Context& context, ElementType type);

// Shape inference; `input` is X's shape, where that is not what the operator gets. False: not known.
bool infer_conv(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output);
bool infer_pool(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output);
bool infer_matrix(const ShapeContext& context, const std::vector<Dimension>& input, std::vector<Dimension>& output);

}  // namespace sparse_export
