#include "sparse.h"

#include <atomic>

#include "../dispatch.h"

namespace sparse_export {

const SparseKernels& sparse_kernels() {
#if defined(__x86_64__)
  static const SparseKernels& chosen =
      for_target<SparseKernels>({&sparse_reference, &sparse_scalar, &sparse_avx2, &sparse_avx512, nullptr});
#else
  static const SparseKernels& chosen =
      for_target<SparseKernels>({&sparse_reference, &sparse_scalar, nullptr, nullptr, nullptr});
#endif
  return chosen;
}

void run_sparse(const Context& context, const ThreadCount& threads, const SparseCall& call) {
  if (call.size.batch == 0) {
    return;
  }
  const SparseKernels& kernels = sparse_kernels();
  SparsePlan plan;
  kernels.plan(call, threads.get(context), plan);
  std::atomic<bool> done{true};
  context.parallel(plan.units, [&](size_t unit) {
    if (!kernels.run(call, plan, unit)) {
      done.store(false, std::memory_order_relaxed);
    }
  });
  if (!done.load(std::memory_order_relaxed)) {
    throw Error("out of memory", abi::code_fail);
  }
}

}  // namespace sparse_export
