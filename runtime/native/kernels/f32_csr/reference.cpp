// The definition of the sparse operators, in plain loops: every other target is tested against it.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "call.h"

namespace sparse_export::f32_csr {
namespace {

// Adds one weight's contribution to the whole output plane of one image.
void add_tap(const Call& call, int64_t column, float value, const float* image, float* plane) {
  const ConvGeometry& geometry = call.geometry;
  const int64_t width = geometry.kernel[1];
  const int64_t channel = column / (geometry.kernel[0] * width);
  const int64_t top = (column / width) % geometry.kernel[0] * geometry.dilations[0] - geometry.begin[0];
  const int64_t left = column % width * geometry.dilations[1] - geometry.begin[1];
  const float* source = image + channel * call.size.input[0] * call.size.input[1];
  for (int64_t oy = 0; oy < call.size.output[0]; ++oy) {
    const int64_t iy = oy * geometry.strides[0] + top;
    for (int64_t ox = 0; ox < call.size.output[1]; ++ox) {
      const int64_t ix = ox * geometry.strides[1] + left;
      if (iy >= 0 && iy < call.size.input[0] && ix >= 0 && ix < call.size.input[1]) {
        plane[oy * call.size.output[1] + ox] += value * source[iy * call.size.input[1] + ix];
      }
    }
  }
}

// Bytes: whole numbers throughout.
void sum_bytes(const Call& call, int64_t row, int64_t image, int32_t* plane) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0], width = call.size.input[1];
  const int64_t first = image * g.channels + row / g.outputs_per_group() * g.channels_per_group();
  const uint8_t* from = call.bytes->x + first * height * width;
  int64_t pixel = 0;
  for (int64_t oy = 0; oy < call.size.output[0]; ++oy) {
    for (int64_t ox = 0; ox < call.size.output[1]; ++ox, ++pixel) {
      uint32_t sum = 0;
      with_types(call.weights, [&](const auto* gaps, const auto* values) {
        int64_t column = -1;
        for (int64_t entry = call.weights.begin(row); entry < call.weights.begin(row + 1); ++entry) {
          column += int64_t{1} + gaps[entry];
          const int64_t y = oy * g.strides[0] + column / g.kernel[1] % g.kernel[0] * g.dilations[0] - g.begin[0];
          const int64_t x = ox * g.strides[1] + column % g.kernel[1] * g.dilations[1] - g.begin[1];
          const int64_t channel = column / g.kernel[1] / g.kernel[0];
          const bool inside = y >= 0 && y < height && x >= 0 && x < width;
          const int32_t value = inside ? from[(channel * height + y) * width + x] ^ call.bytes->flip : call.bytes->zero;
          sum += static_cast<uint32_t>(value * static_cast<int32_t>(values[entry]));
        }
      });
      plane[pixel] = static_cast<int32_t>(sum);
    }
  }
}

void make_plan(const Call& call, size_t, Plan& plan) { plan.units = static_cast<size_t>(call.weights.rows); }

bool run_unit(const Call& call, const Plan&, size_t unit) noexcept {
  const int64_t row = static_cast<int64_t>(unit);
  const int64_t group = row / call.geometry.outputs_per_group();
  const int64_t area = call.size.input[0] * call.size.input[1];
  const int64_t pixels = call.size.output[0] * call.size.output[1];
  // Not summed in Y: it may be the residual's memory.
  // Not by new[]: its check of the size asks for a newer C++ runtime than the oldest systems have.
  const std::unique_ptr<float[], decltype(&std::free)> plane(
      static_cast<float*>(std::malloc(static_cast<size_t>(pixels) * sizeof(float))), std::free);
  if (plane == nullptr) {
    return false;
  }
  for (int64_t image = 0; image < call.size.batch; ++image) {
    const int64_t first = image * call.geometry.channels + group * call.geometry.channels_per_group();
    const int64_t offset = (image * call.geometry.outputs + row) * pixels;
    if (call.bytes != nullptr) {
      const Run all{image, 0, pixels, 0};
      auto* sums = reinterpret_cast<int32_t*>(plane.get());
      sum_bytes(call, row, image, sums);
      call.bytes->sums.integers(call.bytes->sums.context, row, &all, 1, sums);
      continue;
    }
    std::fill_n(plane.get(), pixels, 0.0F);
    with_types(call.weights, [&](const auto* gaps, const auto* values) {
      int64_t column = -1;
      for (int64_t entry = call.weights.begin(row); entry < call.weights.begin(row + 1); ++entry) {
        column += int64_t{1} + gaps[entry];
        add_tap(call, column, static_cast<float>(values[entry]), call.x + first * area, plane.get());
      }
    });
    for (int64_t i = 0; i < pixels; ++i) {
      call.y[offset + i] = finish(call.epilogue, row, plane[i], offset + i);
    }
  }
  return true;
}

}  // namespace

const Kernels reference = {make_plan, run_unit};

}  // namespace sparse_export::f32_csr
