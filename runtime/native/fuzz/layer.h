// One random layer: what a kernel is given, in plain numbers.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "buffer.h"
#include "core/call.h"
#include "core/pool.h"
#include "kernels/f32_csr/call.h"
#include "prefixes.h"
#include "random.h"

namespace fuzz {

using Pair = std::array<int64_t, 2>;  // vertical, horizontal

// The kernels that have a prefix; rows: a format of kernels/rows, in the form that runs it.
#define SPARSE_EXPORT_FAMILY(kernel, prefix) kernel,
enum class Family { SPARSE_EXPORT_PREFIXES(SPARSE_EXPORT_FAMILY) rows, bit_bit, s8_csr };
#undef SPARSE_EXPORT_FAMILY
#define SPARSE_EXPORT_FAMILY(kernel, prefix) #kernel,
inline constexpr std::array family_names = {SPARSE_EXPORT_PREFIXES(SPARSE_EXPORT_FAMILY) "rows", "bit_bit", "s8_csr"};
#undef SPARSE_EXPORT_FAMILY

// What a shape is made for.
enum class Kind { any, pointwise, window, tiny_map, vector, many_rows, many_columns, depthwise, huge_window, far_taps };

// Of s8_csr: zero points and ratios of scales; `scale` is a row's multiplier, `bias` a whole number.
struct Quantization {
  bool floats = false, signed_x = false, signed_z = false;
  bool in_floats = false, wide = false;  // computed in floats; as if sums might pass what they hold
  int zero_x = 0, zero_y = 0, zero_z = 0, zero_s = 0;
  float ratio = 1, ratio_z = 1;
};

// Weights as rows of (column, value); a matrix product is a convolution of 1 x 1 pixels.
struct Layer {
  Family family = Family::f32_csr;
  std::string format;  // of rows
  Kind kind = Kind::any;
  bool conv = false, residual = false;
  bool packed_x = false, packed_y = false;     // X, Y are packed signs
  int64_t rank = 2;                            // spatial dimensions
  int64_t rows = 1, channels = 1, groups = 1;  // `channels` of one group
  Pair kernel{1, 1}, strides{1, 1}, dilations{1, 1}, begin{0, 0}, end{0, 0};
  std::vector<int64_t> first;    // [rows + 1] entries of each row
  std::vector<int64_t> columns;  // of each entry
  std::vector<float> values;     // of each entry, as the operator must read it
  std::vector<float> scale, bias;
  sparse_export::Activation activation;
  Quantization quantized;

  int64_t row_columns() const { return channels * kernel[0] * kernel[1]; }
};

// One call of a layer.
struct Input {
  std::vector<int64_t> lead;  // matrix product: the dimensions before the last
  int64_t batch = 1;          // of a matrix product: the product of `lead`
  Pair size{1, 1}, output{1, 1};
  std::vector<float> x, z;
  bool in_place = false;  // the output takes over Z's memory, as onnxruntime may have it
  bool aligned = true;    // X and Z begin at a multiple of 64 bytes
  size_t threads = 1;
};

// A layer and the components that stand for it.
struct Case {
  Layer layer;
  std::vector<Buffer> packed;
};

// A layer of a random family, twin and epilogue.
Case random_case(Random& random);

// Weights of the layer's shape, in its own numbers and as its kernel's components.
std::vector<Buffer> random_weights(Random& random, Layer& layer);

// Sizes, values and threads of a call whose work stays small.
Input random_input(Random& random, const Layer& layer);

// NCHW, or rows, to packed signs: channels last, 1 = negative.
std::vector<uint8_t> packed_signs(const std::vector<double>& data, int64_t batch, int64_t channels, int64_t area);

// The shape of X (`channels` of it, `size` pixels) or of Y, as floats.
std::vector<int64_t> shape_of(const Layer& layer, const Input& input, int64_t channels, const Pair& size);

// What the layer computes in double precision, and how far float32 may be off: Y in the order of the operator.
// For bit_bit the bound is 0: an exact sum, then float32 steps one by one.
struct Expected {
  std::vector<double> value, bound;
};
Expected expect(const Layer& layer, const Input& input);

// One call of the kernels of the current target; `path` becomes the way they took: a layout, or the family's name.
// `y` has the output's memory. Throws sparse_export::Error.
void run_case(const Case& made, const Input& input, const Buffer& x, const float* z, Buffer& y, std::string& path);

// A random pool of bytes through the kernels of the current target: what differs from the plain loops, or nothing.
std::string run_pool(Random& random);

// Of s8_csr: parameters; X and Z, whole numbers of 8 bits; an output from its exact sum; and the call, whose bytes
// become floats in `y`.
void set_quantization(Random& random, Layer& layer);
void set_quantized_input(Random& random, const Layer& layer, Input& input);
float finish_quantized(const Layer& layer, int64_t row, double sum, const float* z);
// The way that f32_csr takes.
const char* name_of(const sparse_export::f32_csr::Plan& plan);
void run_quantized(const sparse_export::Pool& pool, const Layer& layer, const Input& input,
                   const sparse_export::ConvGeometry& geometry, const sparse_export::ConvSize& size,
                   const std::vector<sparse_export::Tensor>& components, Buffer& y, std::string& path);

}  // namespace fuzz
