// Reading the groups: which weights a row has.
#pragma once

#include "weights.h"

namespace sparse_export::s8_csr {

// visit(column of groups, lane, value) for every weight of a row that is not zero.
template <class Visit>
void each_weight(const Weights& weights, int64_t row, Visit&& visit) {
  const f32_csr::Weights& groups = weights.groups;
  const auto with_gaps = [&](const auto* gaps) {
    const int8_t* value = weights.values.data() + weights.first[static_cast<size_t>(row)];
    int64_t column = -1;
    for (int64_t entry = groups.begin(row); entry < groups.begin(row + 1); ++entry) {
      column += int64_t{1} + gaps[entry];
      for (int64_t lane = 0; lane < group_channels; ++lane) {
        if ((weights.masks[static_cast<size_t>(entry / 2)] >> (entry % 2 * 4 + lane) & 1) != 0) {
          visit(column, lane, *value++);
        }
      }
    }
  };
  switch (groups.gaps.type) {
    case element_uint8:
      return with_gaps(groups.gaps.as<uint8_t>());
    case element_uint16:
      return with_gaps(groups.gaps.as<uint16_t>());
    default:
      return with_gaps(groups.gaps.as<uint32_t>());
  }
}

}  // namespace sparse_export::s8_csr
