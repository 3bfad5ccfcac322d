// Weights of one bit: what layers with float activations (here) and with 1-bit activations (xnor.h) share, and what
// the kernels of every target offer to the former.
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

// Reads input `index` as the weights of shape [rows, columns], and checks every invariant.
BitWeights read_bits(const KernelInfo& info, size_t index, const std::array<int64_t, 2>& shape);

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
  const float* residual;  // null: none; may be Y itself: each element is read before its own is written
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

extern const BinaryKernels binary_reference, binary_scalar;
#if defined(__x86_64__)
extern const BinaryKernels binary_avx2, binary_avx512;
#endif

// The kernels of the current target; throws `Error` where SPARSE_EXPORT_TARGET is unusable.
const BinaryKernels& binary_kernels();

// Plans and runs a call on the session's threads.
void run_binary(const Context& context, const BitCall& call);

}  // namespace sparse_export
