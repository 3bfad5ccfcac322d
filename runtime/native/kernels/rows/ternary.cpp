// `ternary`: base-3 digits, five to a byte: 0, +1 (1), -1 (2); alpha is part of the scale.
#include "parts.h"

namespace sparse_export::rows {

Rows read_ternary(const std::vector<Tensor>& components, const Extent& extent) {
  const Tensor& trits = components[0];
  const int64_t columns = extent.columns(), bytes = (columns + 4) / 5;
  require(trits.type == element_uint8 && trits.shape == Shape{extent.rows, bytes},
          "input 'trits' must be uint8 [outputs, ceil(weights of one output / 5)]");
  constexpr int powers[] = {1, 3, 9, 27, 81, 243};
  const auto* data = trits.as<uint8_t>();
  for (int64_t i = 0; i < trits.count; ++i) {
    const bool last = i % bytes == bytes - 1;
    require(data[i] < powers[last ? columns - (bytes - 1) * 5 : 5], "input 'trits': a byte is too large");
  }
  return build(extent, element_int8, [&](auto&& visit) {
    for (int64_t row = 0; row < extent.rows; ++row) {
      for (int64_t column = 0; column < columns; column += 5) {
        int rest = data[row * bytes + column / 5];
        for (int64_t i = column; rest != 0; ++i, rest /= 3) {
          if (rest % 3 != 0) {
            visit(row, i, [&] { return static_cast<uint8_t>(rest % 3 == 1 ? 1 : 0xFF); });
          }
        }
      }
    }
  });
}

}  // namespace sparse_export::rows
