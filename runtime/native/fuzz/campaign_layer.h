// One random layer of the campaign: what an operator is given, in plain numbers.
#pragma once

#include <array>
#include <limits>
#include <string>
#include <vector>

#include "fake_runtime.h"
#include "random.h"

namespace campaign {

using fake::Random;
using Pair = std::array<int64_t, 2>;  // vertical, horizontal

enum class Family { sparse, binary, xnor };

// What a shape is made for.
enum class Kind { any, pointwise, window, tiny_map, vector, many_rows, many_columns, depthwise, huge_window, far_taps };

// Weights as rows of (column, value); a matrix product is a convolution of 1 x 1 pixels.
struct Layer {
  Family family = Family::sparse;
  Kind kind = Kind::any;
  bool conv = false, residual = false;
  bool packed_x = false, packed_y = false;  // X, Y are packed signs
  std::string suffix;
  int64_t rank = 2;  // spatial dimensions
  int64_t rows = 1, channels = 1, groups = 1;  // `channels` of one group
  Pair kernel{1, 1}, strides{1, 1}, dilations{1, 1}, begin{0, 0}, end{0, 0};
  std::vector<int64_t> first;    // [rows + 1] entries of each row
  std::vector<int64_t> columns;  // of each entry
  std::vector<float> values;     // of each entry, as the operator must read it
  std::vector<float> scale, bias;
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();

  int64_t row_columns() const { return channels * kernel[0] * kernel[1]; }
};

// One call of a layer.
struct Input {
  std::vector<int64_t> lead;  // matrix product: the dimensions before the last
  int64_t batch = 1;          // of a matrix product: the product of `lead`
  Pair size{1, 1}, output{1, 1};
  std::vector<float> x, z;
  bool in_place = false;  // the output takes over Z's memory, as onnxruntime may have it
  bool aligned = true;  // X and Z begin at a multiple of 64 bytes
  size_t threads = 1;
};

// A layer and the components and attributes that stand for it.
struct Case {
  Layer layer;
  std::vector<OrtValue> packed;  // between X and scale
  OrtKernelInfo info;
};

// A layer for the operator of this name. Throws std::runtime_error for an operator that the campaign does not know.
Case random_case(Random& random, const std::string& name);

// Sizes, values and threads of a call whose work stays small.
Input random_input(Random& random, const Layer& layer);

// What the layer computes in double precision, and how far float32 may be off: Y in the order of the operator.
// For xnor the bound is 0: an exact sum, then float32 steps one by one.
struct Expected {
  std::vector<double> value, bound;
};
Expected expect(const Layer& layer, const Input& input);

// The way the kernels of the current target take for a call on this X: a layout, or the family's name.
std::string path_of(const Case& made, const Input& input, const void* x);

}  // namespace campaign
