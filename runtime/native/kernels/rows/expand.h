// A weight as the dense array that it stands for, as its function `<Prefix>Weight` gives it.
#pragma once

#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace sparse_export::rows {

// Fills `dense` with the weight of that shape, outputs first: `prefix` names the format as operators do, `components`
// are its operator's and, where the format has alphas, those (float32, one or one a row). Checks every rule.
void expand(std::string_view prefix, std::vector<Tensor> components, const Shape& shape, float* dense);

}  // namespace sparse_export::rows
