// What a layer must compute: one loop over the entries for each output, in double precision.
#include <cmath>
#include <limits>

#include "layer.h"

namespace fuzz {
namespace {

// Where an entry reads, from the first input pixel of an output.
struct Tap {
  int64_t channel, down, right;
  double value;
};

std::vector<Tap> taps_of(const Layer& layer, int64_t row) {
  const int64_t width = layer.kernel[1], window = layer.kernel[0] * width;
  std::vector<Tap> taps;
  for (int64_t entry = layer.first[row]; entry < layer.first[row + 1]; ++entry) {
    const int64_t column = layer.columns[entry];
    taps.push_back({column / window, column % window / width * layer.dilations[0], column % width * layer.dilations[1],
                    layer.values[entry]});
  }
  return taps;
}

struct Sum {
  double value = 0, size = 0;  // of the terms; of their magnitudes
};

Sum add(const Layer& layer, const Input& input, const std::vector<Tap>& taps, const float* x, int64_t top,
        int64_t left) {
  Sum sum;
  const int64_t height = input.size[0], width = input.size[1];
  for (const Tap& tap : taps) {
    const int64_t y = top + tap.down, z = left + tap.right;
    if (y < 0 || y >= height || z < 0 || z >= width) {
      continue;
    }
    double term = x[(tap.channel * height + y) * width + z];
    if (layer.family == Family::bit_bit) {
      term = term >= 0 ? 1 : -1;
    }
    term -= layer.quantized.zero_x;
    sum.value += tap.value * term;
    sum.size += std::abs(tap.value * term);
  }
  return sum;
}

// The rounding errors of n additions grow like the square root of n, of the sum of magnitudes at most.
void finish(const Layer& layer, const Sum& sum, int64_t row, size_t terms, const float* z, Expected& out) {
  constexpr double epsilon = std::numeric_limits<float>::epsilon();
  const float scale = layer.scale[row], bias = layer.bias[row];
  if (layer.family == Family::bit_bit) {
    float y = static_cast<float>(sum.value) * scale;  // this file is compiled without contraction
    y += bias;
    y += z == nullptr ? 0 : *z;
    out.value.push_back(activate(y, layer.activation));
    out.bound.push_back(0);
    return;
  }
  if (layer.family == Family::s8_csr) {
    out.value.push_back(double{finish_quantized(layer, row, sum.value, z)});
    out.bound.push_back(0);
    return;
  }
  const double residual = z == nullptr ? 0 : double{*z};
  out.value.push_back(activate(sum.value * double{scale} + double{bias} + residual, layer.activation));
  const double size = sum.size * std::abs(double{scale}) + std::abs(double{bias}) + std::abs(residual);
  out.bound.push_back(epsilon * (4 + std::sqrt(static_cast<double>(terms))) * size +
                      double{std::numeric_limits<float>::min()});
}

}  // namespace

Expected expect(const Layer& layer, const Input& input) {
  Expected out;
  const int64_t area = input.size[0] * input.size[1], all = layer.channels * layer.groups;
  for (int64_t image = 0; image < input.batch; ++image) {
    for (int64_t row = 0; row < layer.rows; ++row) {
      const std::vector<Tap> taps = taps_of(layer, row);
      const int64_t group = row / (layer.rows / layer.groups);
      const float* x = input.x.data() + (image * all + group * layer.channels) * area;
      for (int64_t down = 0; down < input.output[0]; ++down) {
        for (int64_t right = 0; right < input.output[1]; ++right) {
          const Sum sum = add(layer, input, taps, x, down * layer.strides[0] - layer.begin[0],
                              right * layer.strides[1] - layer.begin[1]);
          finish(layer, sum, row, taps.size(), layer.residual ? &input.z[out.value.size()] : nullptr, out);
        }
      }
    }
  }
  return out;
}

}  // namespace fuzz
