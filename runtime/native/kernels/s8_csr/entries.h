// Reading the groups: which weights a row has.
#pragma once

#include "weights.h"

namespace sparse_export::s8_csr {

// visit(column of groups, lane, value) for every weight of a row that is not zero.
template <class Visit>
void each_weight(const Groups& groups, int64_t row, Visit&& visit) {
  const f32_csr::Weights& rows = groups.rows;
  const auto with_gaps = [&](auto&& gap_of) {
    const int8_t* value = groups.values.data() + groups.first[static_cast<size_t>(row)];
    int64_t column = -1;
    for (int64_t entry = rows.begin(row); entry < rows.begin(row + 1); ++entry) {
      column += int64_t{1} + gap_of(entry);
      for (int64_t lane = 0; lane < group_channels; ++lane) {
        if ((groups.masks[static_cast<size_t>(entry / 2)] >> (entry % 2 * 4 + lane) & 1) != 0) {
          visit(column, lane, *value++);
        }
      }
    }
  };
  const auto of = [](const auto* gaps) { return [gaps](int64_t entry) { return int64_t{gaps[entry]}; }; };
  if (groups.halves) {
    return with_gaps([&](int64_t entry) { return int64_t{groups.gaps[static_cast<size_t>(entry / 2)]} >> (entry % 2 * 4) & 15; });
  }
  switch (rows.gaps.type) {
    case element_uint8:
      return with_gaps(of(rows.gaps.as<uint8_t>()));
    case element_uint16:
      return with_gaps(of(rows.gaps.as<uint16_t>()));
    default:
      return with_gaps(of(rows.gaps.as<uint32_t>()));
  }
}

}  // namespace sparse_export::s8_csr
