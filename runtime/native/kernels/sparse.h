// What the sparse kernels of every target offer.
//
// A call is a convolution; a matrix product X [M, C] is the convolution of M images of 1 x 1 pixels.
#pragma once

#include <array>
#include <cstddef>

#include "../csr.h"
#include "../geometry.h"
#include "../op.h"

namespace sparse_export {

// Everything one call needs. Y = bounds(conv(X, W) * scale + bias (+ residual)).
struct SparseCall {
  const CsrWeights& weights;
  const ConvGeometry& geometry;
  ConvSize size;
  const float* x;
  const float* scale;
  const float* bias;
  const float* residual;  // null: none
  Bounds bounds;
  float* y;
};

// How the work of a call is cut: `units` independent pieces, and what the target needs to find its piece.
struct SparsePlan {
  size_t units = 1;
  std::array<int64_t, 12> detail{};
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
void run_sparse(const Context& context, const SparseCall& call);

}  // namespace sparse_export
