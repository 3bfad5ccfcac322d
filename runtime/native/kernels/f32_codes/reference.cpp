// The definition of the operators with weights of few values and float activations: plain loops, and the target that
// takes what no other one does.
#include "call.h"

namespace sparse_export::f32_codes {
namespace {

// A weight that is zero takes no part: 0 x infinity is none.
double product(float weight, float x) { return weight == 0 ? 0 : double{weight} * double{x}; }

// Sum over the taps of one output pixel.
float convolve(const Call& call, const Part& part, int64_t pixel, int64_t row) {
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
          sum += product(call.weights.weight(row, i), x[(c * height + h) * width + w]);
        }
      }
    }
  }
  return static_cast<float>(sum);
}

float multiply(const Call& call, int64_t pixel, int64_t row) {
  double sum = 0;
  const float* x = call.x + pixel * call.weights.columns;
  for (int64_t i = 0; i < call.weights.columns; ++i) {
    sum += product(call.weights.weight(row, i), x[i]);
  }
  return static_cast<float>(sum);
}

bool run_unit(const Call& call, const Cut& cut, size_t unit) noexcept {
  const Part part = part_of(cut, unit);
  for (int64_t row = part.row; row < part.row + part.rows; ++row) {
    const int64_t k = part.group * cut.rows + row;
    for (int64_t pixel = part.pixel; pixel < part.pixel + part.pixels; ++pixel) {
      const float sum = call.matrix ? multiply(call, pixel, k) : convolve(call, part, pixel, k);
      const int64_t at =
          call.matrix ? pixel * call.weights.rows + k : (part.image * call.weights.rows + k) * cut.pixels + pixel;
      call.y[at] = finish(call.epilogue, k, sum, at);
    }
  }
  return true;
}

}  // namespace

const Kernels reference = {{.work = 4e6, .pixels = 128, .grain = 4, .fewest_rows = 256, .most_rows = 1024}, run_unit};

}  // namespace sparse_export::f32_codes
