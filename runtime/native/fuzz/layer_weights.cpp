// Random weights, and the components that stand for them.
#include <cmath>

#include "layer_weights.h"

namespace fuzz {
namespace {

// A number of a binary float format with this many exponent and mantissa bits, and its bits.
float random_float(Random& random, int exponent_bits, int mantissa_bits, uint16_t& bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto mantissa = static_cast<int>(uniform(random, 0, (1 << mantissa_bits) - 1));
  const int exponent =
      chance(random, 3) && exponent_bits < 8 ? 0 : static_cast<int>(uniform(random, bias - 5, bias + 2));
  const bool negative = chance(random, 50);
  bits = static_cast<uint16_t>((negative ? 1 : 0) << 15 | exponent << mantissa_bits | mantissa);
  const double fraction = std::ldexp(mantissa, -mantissa_bits);
  const double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return static_cast<float>(negative ? -magnitude : magnitude);
}

template <class T>
Buffer narrowed(int type, const std::vector<int64_t>& values) {
  return buffer_of(type, std::vector<T>(values.begin(), values.end()), {static_cast<int64_t>(values.size())});
}

// What `make` stores and returns for every entry; a filler (0 until now) stays +0.
template <class T, class Make>
Buffer make_values(int type, std::vector<float>& values, Make make) {
  std::vector<T> stored(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = values[i] == 0 ? 0 : make(stored[i]);
  }
  return buffer_of(type, stored, {static_cast<int64_t>(stored.size())});
}

}  // namespace

Buffer random_int8(Random& random, std::vector<float>& values) {
  return make_values<int8_t>(3, values, [&](int8_t& stored) {
    stored = static_cast<int8_t>(uniform(random, -128, 127));
    return static_cast<float>(stored);
  });
}

Buffer random_values(Random& random, std::vector<float>& values) {
  switch (uniform(random, 0, 4)) {
    case 0:
      return make_values<uint16_t>(10, values, [&](uint16_t& bits) { return random_float(random, 5, 10, bits); });
    case 1:
      return make_values<uint16_t>(16, values, [&](uint16_t& bits) { return random_float(random, 8, 7, bits); });
    case 2:
      return random_int8(random, values);
    default:
      return make_values<float>(1, values,
                                [&](float& stored) { return stored = std::normal_distribution<float>()(random); });
  }
}

namespace {

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

std::vector<Buffer> random_csr(Random& random, Layer& layer) {
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

std::vector<Buffer> random_bits(Random& random, Layer& layer) {
  const int64_t width = layer.row_columns(), bytes = (width + 7) / 8, taps = layer.kernel[0] * layer.kernel[1];
  std::vector<uint8_t> bits(static_cast<size_t>(layer.rows * bytes));
  layer.first = {0};
  for (int64_t row = 0; row < layer.rows; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      const bool negative = chance(random, 50);
      // The channels of bit_bit lie last.
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

}  // namespace

std::vector<Buffer> random_weights(Random& random, Layer& layer) {
  if (layer.family == Family::rows) {
    return random_rows(random, layer, layer.format);
  }
  const bool csr = layer.family == Family::f32_csr || layer.family == Family::s8_csr;
  return csr ? random_csr(random, layer) : random_bits(random, layer);
}

}  // namespace fuzz
