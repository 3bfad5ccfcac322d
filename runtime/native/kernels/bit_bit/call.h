// Weights and activations of one bit: what the kernels of every target offer.
//
// Packed activations have their channels last, 1 bit each, 1 = negative: the channels of a pixel (or the columns of a
// row of X) are ceil(channels / 8) bytes, least significant bit first. The bits past the last channel are written as
// zeros and ignored when read. A row of a convolution's weights has the same order: kernel row, kernel column, channel.
#pragma once

#include "core/dispatch.h"
#include "core/pool.h"
#include "core/units.h"
#include "kernels/bit/weights.h"

namespace sparse_export::bit_bit {

// When an output is negative: (sum of products < below) != falling.
struct SignRule {
  int64_t below;
  bool falling;
};

// Rules for every output channel that decide exactly as the float result's sign does: product * scale + bias, two
// roundings, grows or falls with the product, so a bisection finds where it changes its sign.
std::vector<SignRule> sign_rules(const bit::Weights& weights, const float* scale, const float* bias);

// One call: X is `x` or, packed, `signs`; Y is `y` or, packed, `y_signs`.
struct Call : LayerCall {
  const bit::Weights& weights;
  const uint8_t* signs;
  uint8_t* y_signs;
  const SignRule* rules;  // of every output channel; null where Y is floats

  // Bytes of one pixel's channels (or of a row of X).
  SPARSE_EXPORT_INLINE int64_t x_bytes() const { return ((matrix ? weights.columns : geometry.channels) + 7) / 8; }
  SPARSE_EXPORT_INLINE int64_t y_bytes() const { return (weights.rows + 7) / 8; }
};

constexpr int64_t tile = 64;  // pixels of a unit at most, and pixels whose signs are arranged together

struct Kernels {
  // Arranges the signs of part `i` of X: `tile` pixels of an image, or one row.
  void (*arrange)(const Call& call, uint8_t* signs, size_t i) noexcept;
  // Computes one unit; `call.signs` is set. False: out of memory.
  bool (*run)(const Call& call, const Cut& cut, size_t unit) noexcept;
};
SPARSE_EXPORT_DECLARE(bit_bit, Kernels)

// The kernels of the current target; throws `Error` where SPARSE_EXPORT_TARGET is unusable.
const Kernels& kernels();

// Plans and runs a call on the pool.
void run(const Pool& pool, Call call);

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
void run_pool(const Pool& pool, const PoolCall& call);

}  // namespace sparse_export::bit_bit
