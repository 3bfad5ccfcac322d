#include "call.h"

namespace sparse_export::f32_masked {

const Kernels& kernels() {
  static const Kernels& chosen = SPARSE_EXPORT_PICK(f32_masked, Kernels);
  return chosen;
}

void run(const Pool& pool, size_t threads, const Call& call) {
  const int64_t rows = call.weights.rows;
  if (call.size.batch == 0 || rows == 0) {
    return;
  }
  constexpr int64_t grain = 16;  // rows that pay for a unit
  const int64_t most = threads > 1 ? static_cast<int64_t>(threads) * 4 : 1;
  const int64_t parts = rows / grain < most ? rows / grain : most, units = parts < 1 ? 1 : parts;
  pool.run_units(static_cast<size_t>(units), [&](size_t unit) {
    const auto i = static_cast<int64_t>(unit);
    return kernels().run(call, rows * i / units, rows * (i + 1) / units);
  });
}

}  // namespace sparse_export::f32_masked
