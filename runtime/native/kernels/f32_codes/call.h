// Weights of few values, float activations: what the kernels of every target offer.
#pragma once

#include "core/dispatch.h"
#include "core/pool.h"
#include "core/units.h"
#include "weights.h"

namespace sparse_export::f32_codes {

struct Call : LayerCall {
  const Weights& weights;
};

struct Kernels {
  CutRule rule;  // how its parts are cut
  // Computes one unit. False: out of memory.
  bool (*run)(const Call& call, const Cut& cut, size_t unit) noexcept;
};
SPARSE_EXPORT_DECLARE(f32_codes, Kernels)

// The kernels of the current target; throws `Error` where SPARSE_EXPORT_TARGET is unusable.
const Kernels& kernels();

// Plans and runs a call on the pool.
void run(const Pool& pool, const Call& call);

}  // namespace sparse_export::f32_codes
