// The definition of pooling: plain loops.
#include <algorithm>

#include "call.h"

namespace sparse_export::u8_pool {
namespace {

uint8_t largest(const Call& call, const uint8_t* plane, int64_t down, int64_t right) {
  const ConvGeometry& g = call.geometry;
  uint8_t most = 0;
  for (int64_t r = 0; r < g.kernel[0]; ++r) {
    for (int64_t s = 0; s < g.kernel[1]; ++s) {
      const int64_t h = down * g.strides[0] - g.begin[0] + r, w = right * g.strides[1] - g.begin[1] + s;
      if (h >= 0 && h < call.size.input[0] && w >= 0 && w < call.size.input[1]) {
        most = std::max(most, plane[h * call.size.input[1] + w]);
      }
    }
  }
  return most;
}

bool run_planes(const Call& call, int64_t first, int64_t count) noexcept {
  const auto [height, width] = call.size.output;
  for (int64_t plane = first; plane < first + count; ++plane) {
    const uint8_t* x = call.x + plane * call.size.input[0] * call.size.input[1];
    for (int64_t i = 0; i < height * width; ++i) {
      call.y[plane * height * width + i] = largest(call, x, i / width, i % width);
    }
  }
  return true;
}

}  // namespace

const Kernels reference = {run_planes};

}  // namespace sparse_export::u8_pool
