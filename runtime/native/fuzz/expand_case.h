// The components of a random case as the dense weight that they stand for: a weight or an error, nothing else.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "fake_runtime.h"
#include "kernels/rows/expand.h"
#include "quantized_inputs.h"

namespace fuzz {

// The weight as a dense array, from the same components.
inline void expand_case(const std::string& name, const std::vector<OrtValue>& inputs, const OrtKernelInfo& info) {
  const size_t around = name.find("Add") != std::string::npos ? 4 : 3;  // X, scale, bias and the residual
  const auto shape = info.lists.find("shape");
  if (is_quantized(name) || name.rfind("Xnor", 0) == 0 || inputs.size() <= around || shape == info.lists.end()) {
    return;
  }
  int64_t size = 1;
  for (const int64_t dim : shape->second) {
    size = dim > 0 && dim < 1 << 12 && size < 1 << 12 ? size * dim : 0;
  }
  if (size == 0) {
    return;
  }
  const std::string prefix = name.substr(0, std::min(name.find("Conv"), name.find("MatMul")));
  const Buffer dense = buffer_of(sparse_export::element_float, std::vector<float>(static_cast<size_t>(size)), {size});
  try {
    std::vector<sparse_export::Tensor> components;
    for (size_t i = 1; i + around - 1 < inputs.size(); ++i) {
      components.push_back(inputs[i].tensor());
    }
    sparse_export::rows::expand(prefix, components, shape->second, static_cast<float*>(dense.data));
  } catch (const sparse_export::Error&) {  // refused
  }
}

}  // namespace fuzz
