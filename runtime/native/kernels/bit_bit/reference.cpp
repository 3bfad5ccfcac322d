// The definition of the operators with 1-bit weights and activations: plain loops.
#include "call.h"

namespace sparse_export::bit_bit {
namespace {

void set_bit(uint8_t* bits, int64_t i, bool value) {
  const auto mask = static_cast<uint8_t>(1 << (i % 8));
  bits[i / 8] = static_cast<uint8_t>(value ? bits[i / 8] | mask : bits[i / 8] & ~mask);
}

// 0 and -0 are positive, NaN is negative.
bool is_negative(float x) { return !(x >= 0); }

void arrange(const Call& call, uint8_t* signs, size_t i) noexcept {
  const int64_t area = call.matrix ? 1 : call.size.input[0] * call.size.input[1];
  const int64_t channels = call.matrix ? call.weights.columns : call.geometry.channels;
  const int64_t parts = (area + tile - 1) / tile;
  const int64_t image = static_cast<int64_t>(i) / parts, first = static_cast<int64_t>(i) % parts * tile;
  for (int64_t pixel = first; pixel < area && pixel < first + tile; ++pixel) {
    uint8_t* to = signs + (image * area + pixel) * call.x_bytes();
    for (int64_t c = 0; c < call.x_bytes() * 8; ++c) {
      set_bit(to, c, c < channels && is_negative(call.x[(image * channels + c) * area + pixel]));
    }
  }
}

// Sum of products of one output pixel.
int64_t convolve(const Call& call, const Part& part, int64_t pixel, const uint8_t* row) {
  const ConvGeometry& g = call.geometry;
  const int64_t width = call.size.input[1], height = call.size.input[0], channels = g.channels_per_group();
  const int64_t top = pixel / call.size.output[1] * g.strides[0] - g.begin[0];
  const int64_t left = pixel % call.size.output[1] * g.strides[1] - g.begin[1];
  int64_t sum = 0, i = 0;
  for (int64_t r = 0; r < g.kernel[0]; ++r) {
    for (int64_t s = 0; s < g.kernel[1]; ++s, i += channels) {
      const int64_t h = top + r * g.dilations[0], w = left + s * g.dilations[1];
      if (h < 0 || h >= height || w < 0 || w >= width) {
        continue;  // padding is zero: it adds nothing
      }
      const uint8_t* x = call.signs + ((part.image * height + h) * width + w) * call.x_bytes();
      for (int64_t c = 0; c < channels; ++c) {
        sum += bit::get(x, part.group * channels + c) == bit::get(row, i + c) ? 1 : -1;
      }
    }
  }
  return sum;
}

int64_t multiply(const Call& call, int64_t pixel, const uint8_t* row) {
  int64_t sum = 0;
  for (int64_t i = 0; i < call.weights.columns; ++i) {
    sum += bit::get(call.signs + pixel * call.x_bytes(), i) == bit::get(row, i) ? 1 : -1;
  }
  return sum;
}

bool run_unit(const Call& call, const Cut& cut, size_t unit) noexcept {
  const Part part = part_of(cut, unit);
  for (int64_t pixel = part.pixel; pixel < part.pixel + part.pixels; ++pixel) {
    for (int64_t row = part.row; row < part.row + part.rows; ++row) {
      const int64_t k = part.group * cut.rows + row;
      const int64_t sum =
          call.matrix ? multiply(call, pixel, call.weights.row(k)) : convolve(call, part, pixel, call.weights.row(k));
      const auto product = static_cast<float>(sum);
      if (call.y_signs != nullptr) {
        uint8_t* to = call.y_signs + (part.image * cut.pixels + pixel) * call.y_bytes();
        set_bit(to, k, is_negative(scaled(product, call.epilogue.scale[k], call.epilogue.bias[k])));
        for (int64_t i = k + 1; k + 1 == call.weights.rows && i < call.y_bytes() * 8; ++i) {
          set_bit(to, i, false);
        }
        continue;
      }
      const int64_t at =
          call.matrix ? pixel * call.weights.rows + k : (part.image * call.weights.rows + k) * cut.pixels + pixel;
      call.y[at] = finish(call.epilogue, k, product, at);
    }
  }
  return true;
}

}  // namespace

std::vector<SignRule> sign_rules(const bit::Weights& weights, const float* scale, const float* bias) {
  std::vector<SignRule> rules;
  for (int64_t k = 0; k < weights.rows; ++k) {
    const bool falling = scale[k] < 0;
    // The smallest product whose result is not negative (falling: is negative), or one more than the largest.
    int64_t low = -weights.columns, high = weights.columns + 1;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (is_negative(scaled(static_cast<float>(middle), scale[k], bias[k])) != falling) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    rules.push_back({low, falling});
  }
  return rules;
}

const Kernels reference = {arrange, run_unit};

}  // namespace sparse_export::bit_bit
