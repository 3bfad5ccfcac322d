// What the 1-bit kernels of every target offer: weights of one bit, activations float (binary) or one bit (xnor).
//
// Weights stay where the model file has them: row k, bit i (least significant first) is the sign of weight i,
// 1 = negative. A weight is +1 or -1; its magnitude is part of `scale`.
#pragma once

#include <array>
#include <cstddef>

#include "../geometry.h"
#include "../op.h"

namespace sparse_export {

// Invariants, proven by `read_bits`: rows of ceil(columns / 8) bytes, the bits past `columns` are zero.
struct BitWeights {
  int64_t rows = 0, columns = 0;
  const uint8_t* bits = nullptr;

  SPARSE_EXPORT_INLINE int64_t row_bytes() const { return (columns + 7) / 8; }
  SPARSE_EXPORT_INLINE const uint8_t* row(int64_t k) const { return bits + k * row_bytes(); }
};

// Reads input `index` as the weights, and checks every invariant.
BitWeights read_bits(const KernelInfo& info, size_t index, int64_t rows, int64_t columns);

// Reads a constant float input of `count` entries; every one must be finite, and none zero where `nonzero`.
const float* read_vector(const KernelInfo& info, size_t index, const char* name, int64_t count, bool nonzero);

// Everything one call needs. Y = bounds(product * scale + bias (+ residual)).
struct BitCall {
  const BitWeights& weights;
  const ConvGeometry& geometry;  // of a matrix product: a 1 x 1 convolution
  ConvSize size;
  // A matrix product X [pixels, columns] -> Y [pixels, rows]; otherwise a convolution, NCHW.
  bool matrix;
  const float* x;
  const float* scale;
  const float* bias;
  const float* residual;  // null: none
  Bounds bounds;
  float* y;
};

// How a call is cut into independent units: image, group, part of the output pixels, part of the output channels.
struct BitPlan {
  int64_t images = 1, groups = 1, pixels = 0, rows = 0;  // pixels of one image, rows of one group
  int64_t part_pixels = 0, pixel_parts = 0, part_rows = 0, row_parts = 0;

  SPARSE_EXPORT_INLINE size_t units() const {
    return static_cast<size_t>(images * groups * pixel_parts * row_parts);
  }
};

// One unit: pixels [pixel, pixel + pixels) of one image and rows [row, row + rows) of one group.
struct BitPart {
  int64_t image, group, pixel, pixels, row, rows;
};

SPARSE_EXPORT_INLINE BitPart part_of(const BitPlan& plan, size_t unit) {
  int64_t rest = static_cast<int64_t>(unit);
  const int64_t row = rest % plan.row_parts * plan.part_rows;
  rest /= plan.row_parts;
  const int64_t pixel = rest % plan.pixel_parts * plan.part_pixels;
  rest /= plan.pixel_parts;
  const int64_t rows = plan.rows - row < plan.part_rows ? plan.rows - row : plan.part_rows;
  const int64_t pixels = plan.pixels - pixel < plan.part_pixels ? plan.pixels - pixel : plan.part_pixels;
  return {rest / plan.groups, rest % plan.groups, pixel, pixels, row, rows};
}

struct BinaryKernels {
  // Computes one unit. False: out of memory.
  bool (*run)(const BitCall& call, const BitPlan& plan, size_t unit) noexcept;
};

// Where the sign bits of the activations lie between the two passes of an xnor call.
//
// Convolution: for every channel, kernel column and phase of the vertical stride a stream of bits: the columns that
// this kernel column meets, row by row, so that every tap of 64 successive output pixels is 64 successive bits.
// Matrix product: for every row of X its words.
struct XnorLayout {
  int64_t phases = 1;        // min(vertical stride, kernel height)
  int64_t stream_words = 0;  // of one stream or row; the last one is slack for reads past the end
  int64_t streams = 0;       // streams of one channel, or 1
  int64_t sources = 0;       // channels of all images, or rows; one more source holds "inside the image" bits
  bool flat = false;         // strides are 1 and output rows as wide as input rows
};

struct XnorKernels {
  // Packs the signs of one source. Of a convolution, source `sources` first: the others need it.
  void (*pack)(const BitCall& call, const XnorLayout& layout, uint64_t* words, size_t source) noexcept;
  // Computes one unit. False: out of memory.
  bool (*run)(const BitCall& call, const BitPlan& plan, const XnorLayout& layout, const uint64_t* words,
              size_t unit) noexcept;
};

extern const BinaryKernels binary_reference, binary_scalar;
extern const XnorKernels xnor_reference, xnor_scalar;
#if defined(__x86_64__)
extern const BinaryKernels binary_avx2, binary_avx512;
extern const XnorKernels xnor_avx2, xnor_avx512, xnor_avx512vnni;
#endif

// The kernels of the current target; throw `Error` where SPARSE_EXPORT_TARGET is unusable.
const BinaryKernels& binary_kernels();
const XnorKernels& xnor_kernels();

// Plan and run a call on the session's threads.
void run_binary(const Context& context, const BitCall& call);
void run_xnor(const Context& context, const BitCall& call);

}  // namespace sparse_export
