// The largest byte of every window of every plane: between layers of integers, whose activations are uint8, NCHW.
#pragma once

#include "core/dispatch.h"
#include "core/geometry.h"
#include "core/pool.h"

namespace sparse_export::u8_pool {

// Windows may reach beyond the plane, by padding or because the last output is rounded up; each holds some of it. What
// lies outside is smaller than every byte, or equal to the smallest: it changes nothing.
struct Call {
  const ConvGeometry& geometry;  // kernel, strides, padding in front
  ConvSize size;                 // `batch` planes
  const uint8_t* x;
  uint8_t* y;
};

struct Kernels {
  // Planes [first, first + count). False: out of memory.
  bool (*run)(const Call& call, int64_t first, int64_t count) noexcept;
};
SPARSE_EXPORT_DECLARE(u8_pool, Kernels)

// The kernels of the current target; throws `Error` where SPARSE_EXPORT_TARGET is unusable.
const Kernels& kernels();

// Planes of a call; the output has one more row or column where `ceil_mode` lets one begin inside the padded plane.
ConvSize pool_size(const ConvGeometry& geometry, bool ceil_mode, const Shape& planes);

// Output extent along one axis, or -1 where the window is larger than the padded input.
int64_t pool_extent(const ConvGeometry& geometry, bool ceil_mode, size_t axis, int64_t input);

void run(const Pool& pool, const Call& call);

}  // namespace sparse_export::u8_pool
