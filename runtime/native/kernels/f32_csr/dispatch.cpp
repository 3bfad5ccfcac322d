#include <utility>

#include "call.h"

namespace sparse_export::f32_csr {
namespace {

// An image of one column, laid on its side: the same bytes and taps, and its pixels are neighbours in a line.
bool is_column(const LayerCall& call) {
  const ConvGeometry& g = call.geometry;
  return call.size.input[1] == 1 && call.size.output[1] == 1 && g.kernel[1] == 1 && g.begin[1] == 0;
}

ConvGeometry laid_flat(ConvGeometry g) {
  for (auto* extent : {&g.kernel, &g.strides, &g.dilations, &g.begin, &g.end}) {
    std::swap((*extent)[0], (*extent)[1]);
  }
  return g;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = SPARSE_EXPORT_PICK(f32_csr, Kernels);
  return chosen;
}

void run(const Pool& pool, size_t threads, const Call& given) {
  if (given.size.batch == 0) {
    return;
  }
  const bool column = is_column(given);
  const ConvGeometry geometry = column ? laid_flat(given.geometry) : given.geometry;
  ConvSize size = given.size;
  if (column) {
    std::swap(size.input[0], size.input[1]);
    std::swap(size.output[0], size.output[1]);
  }
  const Call call = {{geometry, size, given.matrix, given.x, given.epilogue, given.y}, given.weights, given.bytes};
  Plan plan;
  kernels().plan(call, threads, plan);
  pool.run_units(plan.units, [&](size_t unit) { return kernels().run(call, plan, unit); });
}

}  // namespace sparse_export::f32_csr
