// Random CSR weights, for the programs of fuzz/; of s8_csr too, whose values are int8.
#include "fuzz/layer_weights.h"

namespace fuzz::f32_csr {
namespace {

template <class T>
Buffer narrowed(int type, const std::vector<int64_t>& values) {
  return buffer_of(type, std::vector<T>(values.begin(), values.end()), {static_cast<int64_t>(values.size())});
}

// Columns of one row: the density is met on average, wherever the first and the last one lie.
void add_row(Random& random, Layer& layer, double density, int64_t widest, std::vector<int64_t>& gaps) {
  std::geometric_distribution<int64_t> distance(density);
  int64_t column = -1, next = distance(random);
  const auto add = [&](int64_t at, float value) {
    gaps.push_back(at - column - 1);
    layer.columns.push_back(at);
    layer.values.push_back(value);
    column = at;
  };
  for (; next < layer.row_columns() && next >= 0; next = column + 1 + distance(random)) {
    while (next - column - 1 > widest) {
      add(column + 1 + widest, 0);  // a filler: the gap does not fit
    }
    add(next, 1);
  }
  layer.first.push_back(static_cast<int64_t>(gaps.size()));
}

}  // namespace

std::vector<Buffer> random_weights(Random& random, Layer& layer) {
  const int64_t width = layer.row_columns();
  double density = pick(random, {0.01, 0.05, 0.1, 0.1, 0.3, 0.9});
  if (width > 2000) {
    density = pick(random, {2.0, 20.0, 100.0}) / static_cast<double>(width);
  }
  const int bytes = width > 100'000 ? 4 : pick(random, {1, 1, 2, 4});
  const int64_t widest = bytes == 1 ? 255 : bytes == 2 ? 65535 : int64_t{UINT32_MAX};
  std::vector<int64_t> gaps;
  layer.first = {0};
  for (int64_t row = 0; row < layer.rows; ++row) {
    const bool empty = chance(random, 5);
    const bool dense = !empty && width < 2000 && chance(random, 3);
    add_row(random, layer, empty ? 1e-9 : dense ? 0.999 : density, widest, gaps);
  }
  std::vector<Buffer> packed;
  const int pointer = layer.columns.size() > UINT16_MAX ? pick(random, {12, 13}) : pick(random, {4, 12, 13});
  packed.push_back(pointer == 4    ? narrowed<uint16_t>(4, layer.first)
                   : pointer == 12 ? narrowed<uint32_t>(12, layer.first)
                                   : narrowed<uint64_t>(13, layer.first));
  packed.push_back(bytes == 1   ? narrowed<uint8_t>(2, gaps)
                   : bytes == 2 ? narrowed<uint16_t>(4, gaps)
                                : narrowed<uint32_t>(12, gaps));
  const bool quantized = layer.family == Family::s8_csr;
  packed.push_back(quantized ? random_int8(random, layer.values) : random_values(random, layer.values));
  return packed;
}

}  // namespace fuzz::f32_csr
