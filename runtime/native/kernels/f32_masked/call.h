// Weights under a mask, float activations: what the kernels of every target offer.
#pragma once

#include "core/call.h"
#include "core/dispatch.h"
#include "core/pool.h"
#include "weights.h"

namespace sparse_export::f32_masked {

// A matrix product.
struct Call : LayerCall {
  const Weights& weights;
};

struct Kernels {
  // Rows [first, last) of the weights. False: out of memory.
  bool (*run)(const Call& call, int64_t first, int64_t last) noexcept;
};
SPARSE_EXPORT_DECLARE(f32_masked, Kernels)

// The kernels of the current target; throws `Error` where SPARSE_EXPORT_TARGET is unusable.
const Kernels& kernels();

// Cuts and runs a call on the pool.
void run(const Pool& pool, size_t threads, const Call& call);

}  // namespace sparse_export::f32_masked
