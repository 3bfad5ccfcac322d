// What the sparse kernels of every target offer.
//
// A call is a convolution; a matrix product X [M, C] is the convolution of M images of 1 x 1 pixels.
#pragma once

#include <cstddef>

#include "../csr.h"
#include "../geometry.h"
#include "../op.h"
#include "../parallel.h"

namespace sparse_export {

// Everything one call needs. Y = bounds(conv(X, W) * scale + bias (+ residual)).
struct SparseCall {
  const CsrWeights& weights;
  const ConvGeometry& geometry;
  ConvSize size;
  const float* x;
  const float* scale;
  const float* bias;
  const float* residual;  // null: none; may be Y itself: each element is read before its own is written
  Bounds bounds;
  float* y;
};

// Where the activations of a tile lie while it is computed. A tile is `tile` vectors of output pixels.
//   vector  one output pixel: X is a vector
//   direct  1 x 1 window: read in place, one plane per channel
//   pixels  one line of tile vectors per weight column (im2col); the batch is folded into the pixels
//   strips  one vector of output columns by `tile` output rows: per channel and horizontal tap, a shifted copy of the
//           padded input rows, so that every load is aligned; rows are split by vertical stride phase
//   plain   the reference's loops: offsets into one image would not fit 32 bits
enum class SparseLayout { vector, direct, pixels, strips, plain };

// How a call is cut. A unit is one chunk of output rows by one range of tiles; within a unit the taps of the rows are
// decoded once, then tile after tile is computed in blocks of weight columns that keep its input in the cache.
struct SparsePlan {
  SparseLayout layout = SparseLayout::pixels;
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

struct SparseKernels {
  // Cuts the call for `threads` threads.
  void (*plan)(const SparseCall& call, size_t threads, SparsePlan& plan);
  // Computes one unit. False: out of memory.
  bool (*run)(const SparseCall& call, const SparsePlan& plan, size_t unit) noexcept;
};

extern const SparseKernels sparse_reference;
extern const SparseKernels sparse_scalar;
#if defined(__x86_64__)
extern const SparseKernels sparse_avx2;
extern const SparseKernels sparse_avx512;
#endif

// The kernels of the current target.
const SparseKernels& sparse_kernels();

// Plans and runs a call on the session's threads.
void run_sparse(const Context& context, const ThreadCount& threads, const SparseCall& call);

}  // namespace sparse_export
