#include "binary.h"

#include <cmath>

#include "../dispatch.h"
#include "binary_plan.h"

namespace sparse_export {
namespace {

// A window whose padded copy would pass this many floats goes to the reference: no real layer has one.
constexpr int64_t most_window = int64_t{1} << 24;

bool ordinary(const BitCall& call, const BitPlan& plan) {
  if (call.matrix) {
    return true;
  }
  const ConvGeometry& g = call.geometry;
  const double rows = static_cast<double>(plan.part_pixels / call.size.output[1] + 2) *
                          static_cast<double>(g.strides[0]) +
                      static_cast<double>(g.kernel[0]) * static_cast<double>(g.dilations[0]);
  const double width = static_cast<double>(call.size.input[1] + g.begin[1] + g.end[1]);
  const double channels = 2.0 + 256.0 / static_cast<double>(g.kernel[0] * g.kernel[1]);
  return rows * width * channels < static_cast<double>(most_window);
}

}  // namespace

BitWeights read_bits(const KernelInfo& info, size_t index, const std::array<int64_t, 2>& shape) {
  const auto [rows, columns] = shape;
  const Tensor bits = info.constant(index, "bits");
  BitWeights weights{rows, columns, bits.as<uint8_t>()};
  const int64_t bytes = weights.row_bytes();
  require(bits.type == abi::element_uint8, "input 'bits' must be uint8");
  require(bits.shape.size() == 2 && bits.shape[0] == rows && bits.shape[1] == bytes,
          "input 'bits' must have shape [outputs, ceil(weights of one output / 8)]");
  if (columns % 8 != 0) {
    uint32_t padding = 0;
    for (int64_t k = 0; k < rows; ++k) {
      padding |= static_cast<uint32_t>(weights.row(k)[bytes - 1]) >> (columns % 8);
    }
    require(padding == 0, "input 'bits': padding bits must be zero");
  }
  return weights;
}

const float* read_vector(const KernelInfo& info, size_t index, const char* name, int64_t count, bool nonzero) {
  const Tensor vector = info.constant(index, name);
  const std::string where = std::string("input '") + name + "' ";
  if (vector.type != abi::element_float || vector.shape.size() != 1 || vector.shape[0] != count) {
    throw Error(where + "must be float32 with one entry for each output");
  }
  for (int64_t i = 0; i < count; ++i) {
    const float value = vector.as<float>()[i];
    if (!std::isfinite(value) || (nonzero && value == 0)) {
      throw Error(where + "must be finite" + (nonzero ? " and not zero" : ""));
    }
  }
  return vector.as<float>();
}

const BinaryKernels& binary_kernels() {
#if defined(__x86_64__)
  static const BinaryKernels& chosen =
      for_target<BinaryKernels>({&binary_reference, &binary_scalar, &binary_avx2, &binary_avx512, nullptr});
#else
  static const BinaryKernels& chosen =
      for_target<BinaryKernels>({&binary_reference, &binary_scalar, nullptr, nullptr, nullptr});
#endif
  return chosen;
}

void run_binary(const Context& context, const BitCall& call) {
  BitPlan plan = whole_plan(call);
  if (plan.pixels == 0 || plan.images == 0) {
    return;
  }
  cut(plan, call.weights.columns, 4e6, 128, 4, 256, 1024);
  const BinaryKernels& kernels = ordinary(call, plan) ? binary_kernels() : binary_reference;
  run_units(context, plan.units(), [&](size_t unit) { return kernels.run(call, plan, unit); });
}

}  // namespace sparse_export
