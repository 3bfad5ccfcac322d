#include "call.h"
#include "core/scratch.h"

namespace sparse_export::s8_csr {

const Kernels& kernels() {
  static const Kernels& chosen = SPARSE_EXPORT_PICK(s8_csr, Kernels);
  return chosen;
}

void run(const Pool& pool, size_t threads, const Call& call) {
  if (call.size.batch == 0) {
    return;
  }
  Plan plan;
  kernels().plan(call, threads, plan);
  thread_local Scratch scratch;
  auto* planes = reinterpret_cast<uint8_t*>(scratch.reserve(plan.bytes));
  if (planes == nullptr && plan.bytes != 0) {
    throw Error("out of memory", Fault::failed);
  }
  pool.parallel(plan.interleaves, [&](size_t unit) { kernels().interleave(call, plan, unit, planes); });
  pool.run_units(plan.cut.units, [&](size_t unit) { return kernels().run(call, plan, planes, unit); });
}

}  // namespace sparse_export::s8_csr
