// Inputs of the quantized operators, for fuzz_ops: mostly valid scales, zero points, weights and biases.
#pragma once

#include <string>
#include <vector>

#include "fake_runtime.h"
#include "random.h"

namespace fuzz {

// SparseQConv, TightQMatMulFloat, ...
bool is_quantized(const std::string& name);

// X of this shape, its scale and zero point.
void add_quantized_x(Random& random, std::vector<int64_t> shape, std::vector<OrtValue>& inputs);

// What follows the components, which become int8 where they hold values; `residual` is the shape of Z.
void add_quantized_rest(Random& random, const std::string& name, int64_t rows, const std::vector<int64_t>& residual,
                        std::vector<OrtValue>& inputs);

}  // namespace fuzz
