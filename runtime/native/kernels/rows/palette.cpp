// `palette`: gapped positions and, for each, an index into a table of the distinct values.
#include "parts.h"

namespace sparse_export::rows {

Rows read_palette(const std::vector<Tensor>& components, const Extent& extent) {
  const FlatGaps gaps(components[0], extent);
  const Tensor& table = components[2];
  check_table(table);
  const Planes indices = read_indices(components[1], gaps.entries(), table.count);
  return with_bits(table, "input 'table'", [&](const auto* bits) {
    return build_flat<bits_of<decltype(bits)>>(extent, gaps, table.type, [&](auto* values) {
      indices.walk(gaps.entries(), [&](int64_t entry, uint8_t index) { values[entry] = bits[index]; });
    });
  });
}

}  // namespace sparse_export::rows
