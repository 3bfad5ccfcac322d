#include <algorithm>

#include "call.h"

namespace sparse_export::u8_pool {

const Kernels& kernels() {
  static const Kernels& chosen = SPARSE_EXPORT_PICK(u8_pool, Kernels);
  return chosen;
}

int64_t pool_extent(const ConvGeometry& geometry, bool ceil_mode, size_t axis, int64_t input) {
  const int64_t extent = output_extent(geometry, axis, input);
  if (extent < 0 || !ceil_mode) {
    return extent;
  }
  const int64_t step = geometry.strides[axis], begin = geometry.begin[axis], end = geometry.end[axis];
  const bool rest = (input + begin + end - geometry.kernel[axis]) % step != 0;
  return extent + (rest && extent * step < input + begin ? 1 : 0);
}

ConvSize pool_size(const ConvGeometry& geometry, bool ceil_mode, const Shape& planes) {
  ConvSize size = conv_size(geometry, planes);
  for (size_t axis = 0; axis < 2; ++axis) {
    size.output[axis] = pool_extent(geometry, ceil_mode, axis, size.input[axis]);
  }
  checked_count({size.batch, size.output[0], size.output[1]});
  return size;
}

void run(const Pool& pool, const Call& call) {
  constexpr int64_t bytes_of_share = 1 << 16;  // less is not worth waking a thread
  const int64_t area = std::max<int64_t>(call.size.input[0] * call.size.input[1], 1);
  const int64_t share = std::max<int64_t>(bytes_of_share / area, 1);
  const auto shares = static_cast<size_t>((call.size.batch + share - 1) / share);
  pool.run_units(shares, [&](size_t unit) {
    const int64_t first = static_cast<int64_t>(unit) * share;
    return kernels().run(call, first, std::min(share, call.size.batch - first));
  });
}

}  // namespace sparse_export::u8_pool
