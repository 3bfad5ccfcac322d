#include "in_floats.h"

#include <algorithm>

namespace sparse_export::s8_csr {

RowSums row_sums(const f32_csr::Weights& csr) {
  require(csr.values.type == element_int8, "the weights of a quantized layer must be int8");
  const auto* values = csr.values.as<int8_t>();
  RowSums sums;
  for (int64_t row = 0; row < csr.rows; ++row) {
    int64_t above = 0, below = 0;
    for (int64_t entry = csr.begin(row); entry < csr.begin(row + 1); ++entry) {
      (values[entry] > 0 ? above : below) += values[entry];
    }
    sums.all.push_back(static_cast<int32_t>(static_cast<uint32_t>(above + below)));
    sums.most.push_back(std::max(above, -below));
  }
  return sums;
}

bool is_wide(const RowSums& sums, const std::vector<int32_t>& biases) {
  constexpr int64_t exact = 1 << 24, largest = 255;
  const auto large = [](int64_t most) { return most > exact / largest; };
  const auto far = [](int64_t bias) { return bias < -exact || bias > exact; };
  return std::any_of(sums.most.begin(), sums.most.end(), large) || std::any_of(biases.begin(), biases.end(), far);
}

void run_in_floats(const Pool& pool, size_t threads, const Call& call, const f32_csr::Weights& csr, bool wide) {
  // Both kernels are of one target, or of two whose vectors are equally long.
  const Kernels& mine = kernels();
  const f32_csr::Bytes bytes{call.x, call.flip, call.zero, wide,
                             {&call, mine.take_floats, mine.take_integers, mine.take_pixel}};
  const LayerCall layer{call.geometry, call.size, call.matrix, nullptr, {}, nullptr};
  f32_csr::run(pool, threads, {layer, csr, &bytes});
}

}  // namespace sparse_export::s8_csr
