// `split`: float32 values as sign and mantissa bytes and an index of the exponent, at gapped positions.
#include "parts.h"

namespace sparse_export::rows {

Rows read_split(const std::vector<Tensor>& components, const Extent& extent) {
  const FlatGaps gaps(components[0], extent);
  const int64_t entries = gaps.entries();
  const Tensor &low = components[1], &table = components[3];
  require(low.type == element_uint8 && low.shape == Shape({3, entries}), "input 'low' must be uint8 [3, entries]");
  check_table(table);
  require(table.type == element_float, "input 'table' must be float32");
  // Powers of two, 2^(biased exponent - 150), so that the exponent of a value is the table's plus 23.
  for (int64_t i = 0; i < table.count; ++i) {
    const uint32_t bits = table.as<uint32_t>()[i];
    const uint32_t exponent = bits >> 23 & 0xFF;
    require((bits & 0x807FFFFFU) == 0 && exponent > 0 && exponent <= 254 - 23,
            "input 'table' must hold powers of two between 2^-126 and 2^104");
  }
  const Planes indices = read_indices(components[2], entries, table.count);
  const auto* bytes = low.as<uint8_t>();
  return build_flat<uint32_t>(extent, gaps, element_float, [&](uint32_t* values) {
    for (int64_t i = 0; i < entries; ++i) {
      const uint32_t top = bytes[2 * entries + i];
      values[i] = bytes[i] | static_cast<uint32_t>(bytes[entries + i]) << 8 | (top & 0x7F) << 16 | top >> 7 << 31;
    }
    const auto* powers = table.as<uint32_t>();
    indices.walk(entries, [&](int64_t i, uint8_t index) { values[i] |= powers[index] + (23U << 23); });
  });
}

}  // namespace sparse_export::rows
