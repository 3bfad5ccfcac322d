// `signmask` and `signgaps`: +1 and -1 at the bits of a mask, or at gapped positions; alpha is part of the scale.
#include "parts.h"

namespace sparse_export::rows {

Rows read_signmask(const std::vector<Tensor>& components, const Extent& extent) {
  const Mask mask(components[0], extent);
  return build_flat<uint8_t>(extent, mask, element_int8, Signs(components[1], mask.entries()));
}

Rows read_signgaps(const std::vector<Tensor>& components, const Extent& extent) {
  const FlatGaps gaps(components[0], extent);
  return build_flat<uint8_t>(extent, gaps, element_int8, Signs(components[1], gaps.entries()));
}

}  // namespace sparse_export::rows
