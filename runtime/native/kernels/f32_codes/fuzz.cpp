// Random sign bits, for the programs of fuzz/; of bit_bit too, whose channels lie last.
#include "fuzz/layer_weights.h"

namespace fuzz::f32_codes {

std::vector<Buffer> random_weights(Random& random, Layer& layer) {
  const int64_t width = layer.row_columns(), bytes = (width + 7) / 8, taps = layer.kernel[0] * layer.kernel[1];
  std::vector<uint8_t> bits(static_cast<size_t>(layer.rows * bytes));
  layer.first = {0};
  for (int64_t row = 0; row < layer.rows; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      const bool negative = chance(random, 50);
      const int64_t place = layer.family == Family::bit_bit ? column % taps * layer.channels + column / taps : column;
      bits[static_cast<size_t>(row * bytes + place / 8)] |= static_cast<uint8_t>((negative ? 1 : 0) << place % 8);
      layer.columns.push_back(column);
      layer.values.push_back(negative ? -1.0F : 1.0F);
    }
    layer.first.push_back(static_cast<int64_t>(layer.columns.size()));
  }
  std::vector<Buffer> packed;
  packed.push_back(buffer_of(2, bits, {layer.rows, bytes}));
  return packed;
}

}  // namespace fuzz::f32_codes
