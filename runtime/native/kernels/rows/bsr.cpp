// `bsr`: CSR over a matrix of blocks, with all elements of every block that is not zero.
#include "parts.h"

namespace sparse_export::rows {
namespace {

constexpr int64_t largest_block = 64;

template <class Bits, class Visit>
void walk_blocks(const f32_csr::Weights& blocks, const Extent& extent, int64_t height, int64_t width, const Bits* bits,
                 Visit&& visit) {
  for (int64_t row = 0; row < extent.rows; ++row) {
    const int64_t block_row = row / height;
    int64_t block = -1;
    for (int64_t entry = blocks.begin(block_row); entry < blocks.begin(block_row + 1); ++entry) {
      f32_csr::with_types(blocks, [&](const auto* gaps, const auto*) { block += 1 + int64_t{gaps[entry]}; });
      const Bits* from = bits + (entry * height + row % height) * width;
      for (int64_t i = 0; i < width; ++i) {
        if (from[i] != 0) {
          require(block * width + i < extent.columns(), "input 'values': columns outside the weight must be zero");
          visit(row, block * width + i, [&] { return from[i]; });
        }
      }
    }
  }
}

// Rows of the last block that lie below the matrix.
template <class Bits>
void check_last_row(const f32_csr::Weights& blocks, const Extent& extent, int64_t height, int64_t width,
                    const Bits* bits) {
  const int64_t inside = extent.rows - (blocks.rows - 1) * height;
  for (int64_t entry = blocks.begin(blocks.rows - 1); entry < blocks.entries; ++entry) {
    for (int64_t i = inside * width; i < height * width; ++i) {
      require(bits[entry * height * width + i] == 0, "input 'values': rows outside the weight must be zero");
    }
  }
}

}  // namespace

Rows read_bsr(const std::vector<Tensor>& components, const Extent& extent) {
  const Tensor& values = components[2];
  require(values.shape.size() == 3, "input 'values' must have shape [entries, block rows, block columns]");
  const int64_t height = values.shape[1], width = values.shape[2];
  require(height > 0 && width > 0 && height <= largest_block && width <= largest_block / height,
          "input 'values': a block has 1 to 64 elements");
  const f32_csr::Weights blocks{(extent.rows + height - 1) / height,
                                (extent.columns() + width - 1) / width,
                                values.shape[0],
                                components[0],
                                components[1],
                                {element_float, {values.shape[0]}, nullptr, values.shape[0]}};
  f32_csr::check_weights(blocks);
  return with_bits(values, "input 'values' must be float32, float16, bfloat16 or int8", [&](const auto* bits) {
    check_last_row(blocks, extent, height, width, bits);
    return build(extent, values.type, [&](auto&& visit) { walk_blocks(blocks, extent, height, width, bits, visit); });
  });
}

}  // namespace sparse_export::rows
