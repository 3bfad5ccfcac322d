// `bitmask`: a bit for every weight, and the values of those set.
#include "parts.h"

namespace sparse_export::rows {

Rows read_bitmask(const std::vector<Tensor>& components, const Extent& extent) {
  const Mask mask(components[0], extent);
  const Tensor& values = components[1];
  return with_bits(values, "input 'values' must be float32, float16, bfloat16 or int8", [&](const auto* bits) {
    require(values.shape == Shape{mask.entries()}, "input 'values' must have one element for each bit set in 'mask'");
    return build_flat(extent, mask, values.type, [&](int64_t entry) { return bits[entry]; });
  });
}

}  // namespace sparse_export::rows
