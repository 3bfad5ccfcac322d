#include "call.h"

namespace sparse_export::f32_codes {
namespace {

// A window whose padded copy would pass this many floats goes to the reference: no real layer has one.
constexpr int64_t most_window = int64_t{1} << 24;

bool ordinary(const Call& call, const Cut& cut) {
  if (call.matrix) {
    return true;
  }
  const ConvGeometry& g = call.geometry;
  const double rows =
      static_cast<double>(cut.part_pixels / call.size.output[1] + 2) * static_cast<double>(g.strides[0]) +
      static_cast<double>(g.kernel[0]) * static_cast<double>(g.dilations[0]);
  const double width = static_cast<double>(call.size.input[1] + g.begin[1] + g.end[1]);
  const double channels = 2.0 + 256.0 / static_cast<double>(g.kernel[0] * g.kernel[1]);
  return rows * width * channels < static_cast<double>(most_window);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = SPARSE_EXPORT_PICK(f32_codes, Kernels);
  return chosen;
}

void run(const Pool& pool, const Call& call) {
  Cut cut = whole(call);
  if (cut.pixels == 0 || cut.images == 0) {
    return;
  }
  cut_by(kernels().rule, call.weights.columns, cut);
  const Kernels& chosen = ordinary(call, cut) ? kernels() : reference;
  pool.run_units(cut.units(), [&](size_t unit) { return chosen.run(call, cut, unit); });
}

}  // namespace sparse_export::f32_codes
