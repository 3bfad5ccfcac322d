#include "call.h"

namespace sparse_export::f32_csr {

const Kernels& kernels() {
  static const Kernels& chosen = SPARSE_EXPORT_PICK(f32_csr, Kernels);
  return chosen;
}

void run(const Pool& pool, size_t threads, const Call& call) {
  if (call.size.batch == 0) {
    return;
  }
  Plan plan;
  kernels().plan(call, threads, plan);
  pool.run_units(plan.units, [&](size_t unit) { return kernels().run(call, plan, unit); });
}

}  // namespace sparse_export::f32_csr
