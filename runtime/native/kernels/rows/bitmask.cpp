// `bitmask`: a bit for every weight, and the values of those set.
#include "parts.h"

namespace sparse_export::rows {

void check_bitmask(const std::vector<Tensor>& components, const Extent& extent) {
  const Mask mask(components[0], extent);
  value_bytes(components[1], "input 'values' must be float32, float16, bfloat16 or int8");
  require(components[1].shape == Shape{mask.entries()},
          "input 'values' must have one element for each bit set in 'mask'");
}

Rows read_bitmask(const std::vector<Tensor>& components, const Extent& extent) {
  check_bitmask(components, extent);
  const Mask mask(components[0], extent);
  const Tensor& values = components[1];
  return with_bits(values, "input 'values'", [&](const auto* bits) {
    return build_flat<bits_of<decltype(bits)>>(extent, mask, values.type,
                                               [&](auto* out) { std::copy_n(bits, values.count, out); });
  });
}

}  // namespace sparse_export::rows
