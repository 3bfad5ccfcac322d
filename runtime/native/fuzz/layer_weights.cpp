// Random values, and the weights of every family.
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

std::vector<Buffer> random_weights(Random& random, Layer& layer) {
  switch (layer.family) {
#define SPARSE_EXPORT_CASE(kernel, prefix) \
  case Family::kernel:                     \
    return kernel::random_weights(random, layer);
    SPARSE_EXPORT_PREFIXES(SPARSE_EXPORT_CASE)
#undef SPARSE_EXPORT_CASE
    case Family::rows:
      return random_rows(random, layer, layer.format);
    case Family::bit_bit:
      return f32_codes::random_weights(random, layer);
    case Family::s8_csr:
      return f32_csr::random_weights(random, layer);
  }
  return {};
}

}  // namespace fuzz
