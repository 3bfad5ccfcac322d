// Pools of bytes: the kernels of the current target against the plain loops, to the last byte.
#include <algorithm>

#include "kernels/u8_pool/call.h"
#include "layer.h"
#include "test_pool.h"

namespace fuzz {

using namespace sparse_export;

std::string run_pool(Random& random) {
  std::vector<int64_t> kernel, strides, pads(4);
  Shape planes{uniform(random, 0, 6), 1};
  const bool alike = chance(random, 60);
  for (size_t axis = 0; axis < 2; ++axis) {
    kernel.push_back(alike && axis == 1 ? kernel[0] : pick<int64_t>(random, {1, 2, 2, 2, 3, 3, 5}));
    strides.push_back(alike && axis == 1 ? strides[0] : pick<int64_t>(random, {1, 2, 2, 2, 3}));
    for (const size_t side : {axis, axis + 2}) {
      pads[side] = chance(random, 40) ? uniform(random, 0, kernel[axis] - 1) : 0;
    }
    planes.push_back(std::max(kernel[axis], chance(random, 50) ? pick<int64_t>(random, {1, 2, 4, 8, 16, 32, 64, 130})
                                                               : uniform(random, 1, 140)));
  }
  const ConvGeometry geometry = pool_geometry(kernel, strides, pads);
  const ConvSize size = u8_pool::pool_size(geometry, chance(random, 50), planes);
  std::vector<uint8_t> bytes(static_cast<size_t>(checked_count(planes)));
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  const Buffer x(element_uint8, planes, bytes.data(), bytes.size(), chance(random, 80) ? 0 : 1);
  const Shape shape{size.batch, 1, size.output[0], size.output[1]};
  const std::vector<uint8_t> unset(static_cast<size_t>(checked_count(shape)), 0xA5);
  Buffer expected = buffer_of(element_uint8, unset, shape), y = buffer_of(element_uint8, unset, shape);
  u8_pool::Call call{geometry, size, static_cast<const uint8_t*>(x.data), static_cast<uint8_t*>(expected.data)};
  u8_pool::reference.run(call, 0, size.batch);
  call.y = static_cast<uint8_t*>(y.data);
  u8_pool::run(TestPool(pick<size_t>(random, {1, 1, 2, 3})), call);
  const auto* found = static_cast<const uint8_t*>(y.data);
  return std::equal(found, found + unset.size(), static_cast<const uint8_t*>(expected.data)) ? "" : "pooled bytes differ";
}

}  // namespace fuzz
