// Random layers of int8 weights and 8-bit activations, whose results must be equal to the last bit: an exact sum, then
// float32 steps one by one. X, Z and Y are integers in floats here, bytes for the kernels.
#include <algorithm>
#include <cmath>

#include "core/dispatch.h"
#include "kernels/s8_csr/in_floats.h"
#include "layer.h"

namespace fuzz {
namespace {

using namespace sparse_export;

int low_of(bool is_signed) { return is_signed ? -128 : 0; }

std::vector<float> random_eight_bits(Random& random, int64_t count, bool is_signed) {
  std::vector<float> data(static_cast<size_t>(count));
  for (float& value : data) {
    value = static_cast<float>(uniform(random, 0, 255) + low_of(is_signed));
  }
  return data;
}

Buffer bytes_of(const float* from, size_t count, bool is_signed, bool aligned) {
  std::vector<uint8_t> bytes(count);
  for (size_t i = 0; i < count; ++i) {
    bytes[i] = static_cast<uint8_t>(static_cast<int>(from[i]));
  }
  return Buffer(is_signed ? element_int8 : element_uint8, {static_cast<int64_t>(count)}, bytes.data(), count,
                aligned ? 0 : 1);
}

const char* name_of(const s8_csr::Plan& plan) {
  switch (plan.layout) {
    case s8_csr::Layout::vector:
      return "s8 vector";
    case s8_csr::Layout::flat:
      return "s8 flat";
    case s8_csr::Layout::windows:
      return plan.cut.layout == f32_csr::Layout::strips ? "s8 strips" : "s8 pixels";
    default:
      return "s8 plain";
  }
}

float round_between(float value, int low, int high) {
  return std::nearbyint(std::min(std::max(value, static_cast<float>(low)), static_cast<float>(high)));
}

}  // namespace

void set_quantization(Random& random, Layer& layer) {
  Quantization& q = layer.quantized;
  q.signed_x = chance(random, 50);
  q.signed_z = chance(random, 50);
  q.floats = chance(random, 30);
  q.in_floats = chance(random, 50);
  q.wide = chance(random, 30);
  layer.residual = layer.conv && !q.floats && chance(random, 50);
  q.zero_x = static_cast<int>(uniform(random, 0, 255)) + low_of(q.signed_x);
  q.zero_z = static_cast<int>(uniform(random, 0, 255)) + low_of(q.signed_z);
  q.zero_y = static_cast<int>(uniform(random, 0, 255));
  q.zero_s = static_cast<int>(uniform(random, 0, 255));
  std::normal_distribution<float> normal;
  const auto positive = [&] { return 0.25F + std::abs(normal(random)); };
  q.ratio = positive();
  q.ratio_z = positive();
  const float size = std::ldexp(1.0F, -static_cast<int>(uniform(random, 4, 14)));
  layer.scale.clear();
  layer.bias.clear();
  for (int64_t row = 0; row < layer.rows; ++row) {
    layer.scale.push_back(size * positive());
    layer.bias.push_back(static_cast<float>(uniform(random, -5000, 5000)));
  }
}

void set_quantized_input(Random& random, const Layer& layer, Input& input) {
  input.x = random_eight_bits(random, static_cast<int64_t>(input.x.size()), layer.quantized.signed_x);
  input.z = random_eight_bits(random, static_cast<int64_t>(input.z.size()), layer.quantized.signed_z);
}

float finish_quantized(const Layer& layer, int64_t row, double sum, const float* z) {
  const Quantization& q = layer.quantized;
  // This file is compiled without contraction.
  const float scaled = static_cast<float>(sum + double{layer.bias[row]}) * layer.scale[row];
  if (q.floats) {
    return scaled;
  }
  const float y = round_between(scaled, -q.zero_y, 255 - q.zero_y);
  if (z == nullptr) {
    return y + static_cast<float>(q.zero_y);
  }
  const float mine = y * q.ratio, theirs = (*z - static_cast<float>(q.zero_z)) * q.ratio_z;
  return round_between(mine + theirs, -q.zero_s, 255 - q.zero_s) + static_cast<float>(q.zero_s);
}

void run_quantized(const Pool& pool, const Layer& layer, const Input& input, const ConvGeometry& geometry,
                   const ConvSize& size, const std::vector<Tensor>& components, Buffer& y, std::string& path) {
  const Quantization& q = layer.quantized;
  const f32_csr::Weights csr = f32_csr::read_weights(components, geometry.outputs, geometry.columns());
  const s8_csr::Weights weights = s8_csr::read_weights(csr, geometry);
  const int32_t zero = q.zero_x - low_of(q.signed_x);
  std::vector<int32_t> bias;
  for (size_t row = 0; row < layer.bias.size(); ++row) {
    bias.push_back(static_cast<int32_t>(layer.bias[row]) - zero * weights.sums[row]);
  }
  s8_csr::Requantization out{};
  out.multiplier = layer.scale.data();
  out.bias = bias.data();
  out.floats = q.floats;
  out.low = static_cast<float>(-q.zero_y);
  out.high = static_cast<float>(255 - q.zero_y);
  out.zero = layer.residual ? q.zero_s : q.zero_y;
  out.residual = layer.residual;
  out.ratio = q.ratio;
  out.ratio_z = q.ratio_z;
  out.low_z = static_cast<float>(-q.zero_s);
  out.high_z = static_cast<float>(255 - q.zero_s);
  out.zero_z = q.zero_z;
  out.signed_z = q.signed_z;
  const size_t outputs = y.size / sizeof(float);
  auto* result = static_cast<float*>(y.data);
  const Buffer x = bytes_of(input.x.data(), input.x.size(), q.signed_x, input.aligned);
  Buffer z = bytes_of(input.z.data(), input.z.size(), q.signed_z, input.aligned);
  Buffer bytes = buffer_of(element_uint8, std::vector<uint8_t>(outputs, 0xA5), {static_cast<int64_t>(outputs)});
  Buffer& narrow = layer.residual && input.in_place ? z : bytes;
  const s8_csr::Call call{geometry,
                          size,
                          !layer.conv,
                          static_cast<const uint8_t*>(x.data),
                          static_cast<uint8_t>(q.signed_x ? 0x80 : 0),
                          static_cast<uint8_t>(zero),
                          weights,
                          out,
                          static_cast<const uint8_t*>(z.data),
                          q.floats ? y.data : narrow.data};
  const bool planned = detect_target() != Target::reference && size.batch != 0;
  path = "s8 no plan";
  if (q.in_floats) {
    const bool wide = q.wide || s8_csr::is_wide(s8_csr::row_sums(csr), bias);
    s8_csr::run_in_floats(pool, input.threads, call, csr, wide);
    const f32_csr::Bytes counted{nullptr, 0, 0, wide, {}};
    f32_csr::Plan plan;
    if (planned) {
      f32_csr::kernels().plan({{geometry, size, call.matrix, nullptr, {}, nullptr}, csr, &counted}, input.threads, plan);
      path = std::string("s8 in floats, ") + name_of(plan) + (wide ? ", wide" : "");
    }
  } else {
    s8_csr::run(pool, input.threads, call);
    s8_csr::Plan plan;
    if (planned) {
      s8_csr::kernels().plan(call, input.threads, plan);
      path = name_of(plan);
    }
  }
  for (size_t i = 0; i < outputs && !q.floats; ++i) {
    result[i] = static_cast<const uint8_t*>(narrow.data)[i];
  }
}

}  // namespace fuzz
