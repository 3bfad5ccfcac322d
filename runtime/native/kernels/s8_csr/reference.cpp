// The definition of the quantized sparse operators, in plain loops: every other target is tested against it.
#include <cmath>

#include "call.h"
#include "entries.h"

namespace sparse_export::s8_csr {
namespace {

float round_between(float value, float low, float high) {
  value = value < low ? low : value;
  return std::nearbyint(value > high ? high : value);
}

// The output at offset `at` of row k, from its sum (with its bias).
void finish(const Call& call, int64_t k, uint32_t sum, int64_t at) {
  const Requantization& out = call.out;
  const float scaled = static_cast<float>(static_cast<int32_t>(sum)) * out.multiplier[k];
  if (out.floats) {
    static_cast<float*>(call.y)[at] = scaled;
    return;
  }
  float q = round_between(scaled, out.low, out.high);
  if (out.residual) {
    const int32_t z = out.signed_z ? static_cast<int8_t>(call.z[at]) : call.z[at];
    const float mine = q * out.ratio;
    const float theirs = static_cast<float>(z - out.zero_z) * out.ratio_z;
    q = round_between(mine + theirs, out.low_z, out.high_z);
  }
  static_cast<uint8_t*>(call.y)[at] = static_cast<uint8_t>(static_cast<int32_t>(q) + out.zero);
}

// visit(column, value) for every entry of a row. The rows of the file where they are at hand; the groups made of them
// say the same.
template <class Visit>
void each_entry(const Call& call, int64_t row, Visit&& visit) {
  const f32_csr::Weights& csr = call.weights.csr;
  if (csr.rows == 0) {
    const int64_t window = call.geometry.kernel[0] * call.geometry.kernel[1];
    return each_weight(call.weights, row, [&](int64_t column, int64_t lane, int8_t value) {
      visit((column / window * group_channels + lane) * window + column % window, value);
    });
  }
  f32_csr::with_types(csr, [&](const auto* gaps, const auto* values) {
    int64_t column = -1;
    for (int64_t entry = csr.begin(row); entry < csr.begin(row + 1); ++entry) {
      column += int64_t{1} + gaps[entry];
      visit(column, static_cast<int8_t>(values[entry]));
    }
  });
}

// The sum of one output: products of weights and activations that count from 0, zero points where the window is
// outside the image. Modulo 2^32, as the vector instructions count.
uint32_t sum_of(const Call& call, int64_t row, const uint8_t* image, int64_t oy, int64_t ox) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0], width = call.size.input[1];
  uint32_t sum = 0;
  each_entry(call, row, [&](int64_t column, int8_t value) {
    const int64_t s = column % g.kernel[1], r = column / g.kernel[1] % g.kernel[0];
    const int64_t channel = column / g.kernel[1] / g.kernel[0];
    const int64_t y = oy * g.strides[0] + r * g.dilations[0] - g.begin[0];
    const int64_t x = ox * g.strides[1] + s * g.dilations[1] - g.begin[1];
    const bool inside = y >= 0 && y < height && x >= 0 && x < width;
    const int32_t pixel = inside ? image[(channel * height + y) * width + x] ^ call.flip : call.zero;
    sum += static_cast<uint32_t>(pixel * value);
  });
  return sum;
}

void make_plan(const Call& call, size_t, Plan& plan) { plan.cut.units = static_cast<size_t>(call.geometry.outputs); }

void interleave(const Call&, const Plan&, size_t, uint8_t*) noexcept {}

bool run_unit(const Call& call, const Plan&, const uint8_t*, size_t unit) noexcept {
  const auto row = static_cast<int64_t>(unit);
  const ConvGeometry& g = call.geometry;
  const int64_t area = call.size.input[0] * call.size.input[1];
  int64_t first = row / g.outputs_per_group() * g.channels_per_group();
  for (int64_t image = 0; image < call.size.batch; ++image, first += g.channels) {
    int64_t at = (image * g.outputs + row) * call.size.output[0] * call.size.output[1];
    for (int64_t oy = 0; oy < call.size.output[0]; ++oy) {
      for (int64_t ox = 0; ox < call.size.output[1]; ++ox, ++at) {
        const uint32_t sum = sum_of(call, row, call.x + first * area, oy, ox);
        finish(call, row, sum + static_cast<uint32_t>(call.out.bias[row]), at);
      }
    }
  }
  return true;
}

// Where f32_csr has the sums: less their bias, along pixels or along rows.
template <class Sum>
void take_runs(const void* context, int64_t row, const f32_csr::Run* runs, int64_t count, const Sum* sums) {
  const Call& call = *static_cast<const Call*>(context);
  const int64_t area = call.size.output[0] * call.size.output[1];
  for (const f32_csr::Run* run = runs; run < runs + count; ++run) {
    const int64_t at = (run->image * call.geometry.outputs + row) * area + run->pixel;
    for (int64_t i = 0; i < run->length; ++i) {
      const auto sum = static_cast<uint32_t>(static_cast<int32_t>(sums[run->position + i]));
      finish(call, row, sum + static_cast<uint32_t>(call.out.bias[row]), at + i);
    }
  }
}

void take_pixel(const void* context, int64_t row, int64_t count, const int32_t* sums, int64_t at) {
  const Call& call = *static_cast<const Call*>(context);
  for (int64_t i = 0; i < count; ++i) {
    finish(call, row + i, static_cast<uint32_t>(sums[i]) + static_cast<uint32_t>(call.out.bias[row + i]), at + i);
  }
}

}  // namespace

const Kernels reference = {make_plan, interleave, run_unit, take_runs<float>, take_runs<int32_t>, take_pixel};

}  // namespace sparse_export::s8_csr
