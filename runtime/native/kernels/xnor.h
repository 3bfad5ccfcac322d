// Weights and activations of one bit: what the kernels of every target offer.
//
// Packed activations have their channels last, 1 bit each, 1 = negative: the channels of a pixel (or the columns of a
// row of X) are ceil(channels / 8) bytes, least significant bit first. The bits past the last channel are written as
// zeros and ignored when read. A row of a convolution's weights has the same order: kernel row, kernel column, channel.
#pragma once

#include "binary.h"

namespace sparse_export {

// When an output is negative: (sum of products < below) != falling.
struct SignRule {
  int64_t below;
  bool falling;
};

// Rules for every output channel that decide exactly as the float result's sign does: product * scale + bias, two
// roundings, grows or falls with the product, so a bisection finds where it changes its sign.
std::vector<SignRule> sign_rules(const BitWeights& weights, const float* scale, const float* bias);

// One call: X is `x` or, packed, `signs`; Y is `y` or, packed, `y_signs`.
struct XnorCall : BitCall {
  const uint8_t* signs;
  uint8_t* y_signs;
  const SignRule* rules;  // of every output channel; null where Y is floats

  // Bytes of one pixel's channels (or of a row of X).
  SPARSE_EXPORT_INLINE int64_t x_bytes() const { return ((matrix ? weights.columns : geometry.channels) + 7) / 8; }
  SPARSE_EXPORT_INLINE int64_t y_bytes() const { return (weights.rows + 7) / 8; }
};

constexpr int64_t xnor_tile = 64;  // pixels of a unit at most, and pixels that are packed together

struct XnorKernels {
  // Packs the signs of part `i` of X: `xnor_tile` pixels of an image, or one row.
  void (*pack)(const XnorCall& call, uint8_t* signs, size_t i) noexcept;
  // Computes one unit; `call.signs` is set. False: out of memory.
  bool (*run)(const XnorCall& call, const BitPlan& plan, size_t unit) noexcept;
};

extern const XnorKernels xnor_reference, xnor_scalar;
#if defined(__x86_64__)
extern const XnorKernels xnor_avx2, xnor_avx512, xnor_avx512vnni;
#endif

// The kernels of the current target; throws `Error` where SPARSE_EXPORT_TARGET is unusable.
const XnorKernels& xnor_kernels();

// Plans and runs a call on the session's threads.
void run_xnor(const Context& context, XnorCall call);

// The largest sign of every window of packed activations; the smallest of the channels whose bit of `falling` is set.
// Bytes alone, so the baseline does as well as any target.
struct PoolCall {
  const ConvGeometry& geometry;  // kernel, strides and padding
  ConvSize size;
  int64_t bytes;  // of one pixel
  const uint8_t* x;
  const uint8_t* falling;
  uint8_t* y;
};
void run_pool(const Context& context, const PoolCall& call);

}  // namespace sparse_export
