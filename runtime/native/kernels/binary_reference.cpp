// The definition of the 1-bit operators: plain loops, and the target that takes what no other one does.
#include "binary.h"

namespace sparse_export {
namespace {

float finish(const BitCall& call, int64_t k, float product, size_t at) {
  float y = product * call.scale[k];
  y += call.bias[k];
  if (call.residual != nullptr) {
    y += call.residual[at];
  }
  y = y < call.bounds.low ? call.bounds.low : y;
  return y > call.bounds.high ? call.bounds.high : y;
}

bool negative_bit(const uint8_t* row, int64_t i) { return (row[i / 8] >> (i % 8) & 1) != 0; }

// The sign that a 1-bit activation stands for: 0 and -0 are +1, NaN is -1.
float sign(float x) { return x >= 0 ? 1.0F : -1.0F; }

// Sum over the taps of one output pixel; `Value` maps an activation to what is multiplied.
template <class Value>
float convolve(const BitCall& call, const BitPart& part, int64_t pixel, const uint8_t* row, Value value) {
  const ConvGeometry& g = call.geometry;
  const int64_t width = call.size.input[1], height = call.size.input[0];
  const int64_t top = pixel / call.size.output[1] * g.strides[0] - g.begin[0];
  const int64_t left = pixel % call.size.output[1] * g.strides[1] - g.begin[1];
  const int64_t channels = g.channels_per_group();
  const float* x = call.x + (part.image * g.channels + part.group * channels) * height * width;
  double sum = 0;
  int64_t i = 0;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t r = 0; r < g.kernel[0]; ++r) {
      for (int64_t s = 0; s < g.kernel[1]; ++s, ++i) {
        const int64_t h = top + r * g.dilations[0], w = left + s * g.dilations[1];
        if (h >= 0 && h < height && w >= 0 && w < width) {  // padding is zero: it adds nothing
          const float v = value(x[(c * height + h) * width + w]);
          sum += negative_bit(row, i) ? -v : v;
        }
      }
    }
  }
  return static_cast<float>(sum);
}

template <class Value>
float multiply(const BitCall& call, int64_t pixel, const uint8_t* row, Value value) {
  double sum = 0;
  const float* x = call.x + pixel * call.weights.columns;
  for (int64_t i = 0; i < call.weights.columns; ++i) {
    const float v = value(x[i]);
    sum += negative_bit(row, i) ? -v : v;
  }
  return static_cast<float>(sum);
}

template <class Value>
void run(const BitCall& call, const BitPlan& plan, size_t unit, Value value) {
  const BitPart part = part_of(plan, unit);
  for (int64_t row = part.row; row < part.row + part.rows; ++row) {
    const int64_t k = part.group * plan.rows + row;
    const uint8_t* bits = call.weights.row(k);
    for (int64_t pixel = part.pixel; pixel < part.pixel + part.pixels; ++pixel) {
      const float product =
          call.matrix ? multiply(call, pixel, bits, value) : convolve(call, part, pixel, bits, value);
      const auto at = static_cast<size_t>(call.matrix ? pixel * call.weights.rows + k
                                                      : (part.image * call.weights.rows + k) * plan.pixels + pixel);
      call.y[at] = finish(call, k, product, at);
    }
  }
}

bool run_floats(const BitCall& call, const BitPlan& plan, size_t unit) noexcept {
  run(call, plan, unit, [](float x) { return x; });
  return true;
}

void pack_nothing(const BitCall&, const XnorLayout&, uint64_t*, size_t) noexcept {}

bool run_signs(const BitCall& call, const BitPlan& plan, const XnorLayout&, const uint64_t*, size_t unit) noexcept {
  run(call, plan, unit, sign);
  return true;
}

}  // namespace

extern const BinaryKernels binary_reference = {run_floats};
extern const XnorKernels xnor_reference = {pack_nothing, run_signs};

}  // namespace sparse_export
