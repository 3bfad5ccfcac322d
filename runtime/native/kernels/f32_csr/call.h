// Sparse weights, float activations: what the kernels of every target offer.
//
// A call is a convolution; a matrix product X [M, C] is the convolution of M images of 1 x 1 pixels.
#pragma once

#include "core/call.h"
#include "core/dispatch.h"
#include "core/pool.h"
#include "weights.h"

namespace sparse_export::f32_csr {

// Output pixels [pixel, pixel + length) of one image, at `position` of a tile.
struct Run {
  int64_t image, pixel, length, position;
};

// Where the sums of activations of bytes go: what becomes of them is not this kernel's business. A tile of one row, or
// rows [row, row + count) of one pixel that lie in Y from `at` on. `floats` are whole numbers, `integers` modulo 2^32.
struct Sums {
  const void* context;
  void (*floats)(const void* context, int64_t row, const Run* runs, int64_t count, const float* sums);
  void (*integers)(const void* context, int64_t row, const Run* runs, int64_t count, const int32_t* sums);
  void (*pixel)(const void* context, int64_t row, int64_t count, const int32_t* sums, int64_t at);
};

// Activations of bytes in the place of floats, and int8 weights: sums of whole numbers, exact in float32 up to 2^24.
struct Bytes {
  const uint8_t* x;  // int8 activations: their bytes
  uint8_t flip;      // 0x80 for int8: x ^ flip counts from 0
  uint8_t zero;      // counted from 0: what padding holds
  bool wide;         // some row's sums may pass 2^24: those of few columns are added up as integers
  Sums sums;
};

// Everything one call needs.
struct Call : LayerCall {
  const Weights& weights;
  const Bytes* bytes = nullptr;  // in the place of `x`, `epilogue` and `y`
};

// Where the activations of a tile lie while it is computed. A tile is `tile` vectors of output pixels.
//   vector  one output pixel: X is a vector
//   direct  1 x 1 window: read in place, one plane per channel
//   pixels  one line of tile vectors per weight column (im2col); the batch is folded into the pixels
//   strips  one vector of output columns by `tile` output rows: per channel and horizontal tap, a shifted copy of the
//           padded input rows, so that every load is aligned; rows are split by vertical stride phase
//   plain   the reference's loops: offsets into one image would not fit 32 bits
enum class Layout { vector, direct, pixels, strips, plain };

// How a call is cut. A unit is one chunk of output rows by one range of tiles; within a unit the taps of the rows are
// decoded once, then tile after tile is computed in blocks of weight columns that keep its input in the cache.
struct Plan {
  Layout layout = Layout::pixels;
  int64_t tile = 1;           // vectors of pixels
  int64_t tiles = 1;          // over all images
  int64_t tile_parts = 1;     // ranges of tiles
  int64_t row_chunks = 1;     // per group
  int64_t block_columns = 1;  // weight columns per pass
  int64_t column_bytes = 0;   // direct, pixels: distance of two columns
  int64_t channel_bytes = 0;  // strips: one channel
  int64_t phase_rows = 0;     // strips: rows of one phase
  int64_t phases = 1;         // strips: vertical stride phases that some tap uses
  bool narrow = false;        // pixels: at most four, which lie next to each other
  int64_t strips = 1;         // strips: per image; direct: tiles per image
  int64_t row_tiles = 1;      // strips: per strip
  size_t units = 1;
};

struct Kernels {
  // Cuts the call for `threads` threads.
  void (*plan)(const Call& call, size_t threads, Plan& plan);
  // Computes one unit. False: out of memory.
  bool (*run)(const Call& call, const Plan& plan, size_t unit) noexcept;
};
SPARSE_EXPORT_DECLARE(f32_csr, Kernels)

// The kernels of the current target; throws `Error` where SPARSE_EXPORT_TARGET is unusable.
const Kernels& kernels();

// Plans and runs a call on the pool, cut for `threads` threads.
void run(const Pool& pool, size_t threads, const Call& call);

}  // namespace sparse_export::f32_csr
