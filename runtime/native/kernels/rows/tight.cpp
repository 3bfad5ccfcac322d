// `tight`: gaps of 2 to 8 bits and the values as they are.
#include "parts.h"

namespace sparse_export::rows {

Rows read_tight(const std::vector<Tensor>& components, const Extent& extent) {
  const FlatGaps gaps(components[0], extent);
  const Tensor& values = components[1];
  return with_bits(values, "input 'values' must be float32, float16, bfloat16 or int8", [&](const auto* bits) {
    require(values.shape == Shape{gaps.entries()}, "input 'values' must have one element for each entry of 'gaps'");
    return build_flat<bits_of<decltype(bits)>>(extent, gaps, values.type,
                                               [&](auto* out) { std::copy_n(bits, values.count, out); });
  });
}

}  // namespace sparse_export::rows
