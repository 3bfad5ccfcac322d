#include "sparse.h"
#define SPARSE_EXPORT_JOIN2(a, b) a##b
#define SPARSE_EXPORT_JOIN(a, b) SPARSE_EXPORT_JOIN2(a, b)
namespace sparse_export {
extern const SparseKernels SPARSE_EXPORT_JOIN(sparse_, SPARSE_EXPORT_TARGET_NAME) = {
  [](const SparseCall& c, size_t t, SparsePlan& p) { sparse_reference.plan(c, t, p); },
  [](const SparseCall& c, const SparsePlan& p, size_t u) noexcept { return sparse_reference.run(c, p, u); }};
}
