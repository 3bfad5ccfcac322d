#include "weights.h"

namespace sparse_export::bit {

Weights read_weights(const std::vector<Tensor>& components, int64_t rows, int64_t columns) {
  const Tensor& bits = components[0];
  const Weights weights{rows, columns, bits.as<uint8_t>()};
  const int64_t bytes = weights.row_bytes();
  require(bits.type == element_uint8, "input 'bits' must be uint8");
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

}  // namespace sparse_export::bit
