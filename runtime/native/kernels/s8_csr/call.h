// Sparse int8 weights, 8-bit activations: what the kernels of every target offer.
//
// A call is a convolution; a matrix product X [M, C] is the convolution of M images of 1 x 1 pixels. All arithmetic is
// that of `Requantization`, bit for bit the same on every target.
#pragma once

#include "core/call.h"
#include "core/dispatch.h"
#include "core/pool.h"
#include "kernels/f32_csr/call.h"
#include "weights.h"

namespace sparse_export::s8_csr {

// A scale, and the number that stands for 0.
struct Quantum {
  float scale = 1;
  int32_t zero = 0;
  bool is_signed = false;  // int8, otherwise uint8

  SPARSE_EXPORT_INLINE float low() const { return static_cast<float>((is_signed ? -128 : 0) - zero); }
  SPARSE_EXPORT_INLINE float high() const { return static_cast<float>((is_signed ? 127 : 255) - zero); }
};

// From the integer sum of a row to its output. With acc = sum of w * (x - zero of X) + bias, modulo 2^32:
//   floats           y = float(acc) * multiplier
//   bytes            q = round(min(max(float(acc) * multiplier, low), high)),  y = q + zero
//   with a residual  q = round(min(max(float(q) * ratio + float(z - zero of Z) * ratio_z, low), high)),  y = q + zero
// Every operation is one float32 operation, rounded to nearest even.
struct Requantization {
  const float* multiplier;  // [rows]
  const int32_t* bias;      // [rows] less the zero point of X, counted from 0, times the sum of the row's weights
  bool floats = false;
  float low = 0, high = 0;  // of the first step, from its zero point
  int32_t zero = 0;         // of Y
  bool residual = false;
  float ratio = 0, ratio_z = 0, low_z = 0, high_z = 0;  // of the second step
  int32_t zero_z = 0;
  bool signed_z = false;
};

struct Call {
  const ConvGeometry& geometry;
  ConvSize size;
  bool matrix;       // X [pixels, columns] -> Y [pixels, rows]; otherwise NCHW
  const uint8_t* x;  // int8 activations: their bytes
  uint8_t flip;      // 0x80 for int8: x ^ flip counts from 0
  uint8_t zero;      // of X, counted from 0: what padding holds
  const Weights& weights;
  const Requantization& out;
  const uint8_t* z;
  void* y;  // bytes, or floats; may be Z
};

// Where the activations lie. `reference` is the plain loops: where copies of padded rows would be too large.
//   vector   [pixels][channels]: few of them, times bundles of rows
//   flat     [groups of channels][pixels of all images]: 1 x 1 windows, matrix products
//   windows  padded images [image][groups of channels][height][width]
// A pixel of four channels has the geometry of one float32, so the layouts, tiles and arranging of f32_csr serve.
enum class Layout { reference, vector, flat, windows };

struct Bundles;

struct Plan {
  Layout layout = Layout::reference;
  ConvGeometry geometry;  // as f32_csr sees it: groups of channels, no padding
  ConvSize size;
  f32_csr::Plan cut;
  const Bundles* bundles = nullptr;  // of vector
  size_t interleaves = 0;  // units of `interleave`
  size_t bytes = 0;        // of the interleaved activations
};

struct Kernels {
  // Cuts the call for `threads` threads.
  void (*plan)(const Call& call, size_t threads, Plan& plan);
  // Writes one unit of the interleaved activations.
  void (*interleave)(const Call& call, const Plan& plan, size_t unit, uint8_t* planes) noexcept;
  // Computes one unit. False: out of memory.
  bool (*run)(const Call& call, const Plan& plan, const uint8_t* planes, size_t unit) noexcept;
  // What f32_csr hands on of a call in floats: see f32_csr::Sums.
  void (*take_floats)(const void* call, int64_t row, const f32_csr::Run* runs, int64_t count, const float* sums);
  void (*take_integers)(const void* call, int64_t row, const f32_csr::Run* runs, int64_t count, const int32_t* sums);
  void (*take_pixel)(const void* call, int64_t row, int64_t count, const int32_t* sums, int64_t at);
};
SPARSE_EXPORT_DECLARE(s8_csr, Kernels)

// The kernels of the current target; throws `Error` where SPARSE_EXPORT_TARGET is unusable.
const Kernels& kernels();

// Plans and runs a call on the pool, cut for `threads` threads.
void run(const Pool& pool, size_t threads, const Call& call);

}  // namespace sparse_export::s8_csr
