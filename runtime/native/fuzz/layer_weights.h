// Random values and weights, for the encoders of the formats.
#pragma once

#include <string>
#include <vector>

#include "buffer.h"
#include "layer.h"
#include "random.h"

namespace fuzz {

// Gives every entry that is not 0 a value of a random storage type, and returns what stores them: [entries].
Buffer random_values(Random& random, std::vector<float>& values);

// As `random_values`, of int8.
Buffer random_int8(Random& random, std::vector<float>& values);

// Weights of the layer's shape in a format that is read as rows; sets the layer's entries too.
std::vector<Buffer> random_rows(Random& random, Layer& layer, const std::string& format);

// Weights as a kernel's components, in kernels/<kernel>/fuzz.cpp; sets the layer's entries too.
#define SPARSE_EXPORT_DECLARE_WEIGHTS(kernel, prefix)               \
  namespace kernel {                                                \
  std::vector<Buffer> random_weights(Random& random, Layer& layer); \
  }
SPARSE_EXPORT_PREFIXES(SPARSE_EXPORT_DECLARE_WEIGHTS)
#undef SPARSE_EXPORT_DECLARE_WEIGHTS

}  // namespace fuzz
