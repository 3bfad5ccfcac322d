#include "parts.h"

#include <algorithm>

namespace sparse_export::rows {
namespace {

int64_t width_of(int64_t limit) {
  return limit <= 2 ? 1 : static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(limit - 1)));
}

}  // namespace

void check_bits(const Tensor& tensor, const Shape& shape, int64_t bits, const char* rule, const char* padding_rule) {
  require(tensor.type == element_uint8 && tensor.shape == shape, rule);
  if (bits % 8 == 0) {
    return;
  }
  const int64_t bytes = bytes_of_bits(bits);
  for (int64_t end = bytes; end <= tensor.count; end += bytes) {
    require(tensor.as<uint8_t>()[end - 1] >> (bits % 8) == 0, padding_rule);
  }
}

Planes read_indices(const Tensor& indices, int64_t count, int64_t limit) {
  const Planes planes{indices.as<uint8_t>(), width_of(limit), bytes_of_bits(count)};
  check_bits(indices, {planes.width, planes.bytes}, count, "input 'indices' must be uint8 [bits of an index, bytes]",
             "input 'indices': padding bits must be zero");
  for (int64_t i = 0; i < count && limit < int64_t{1} << planes.width; ++i) {
    require(planes[i] < static_cast<uint64_t>(limit), "input 'indices': an index is outside the table");
  }
  return planes;
}

void check_table(const Tensor& table) {
  value_bytes(table, "input 'table' must be float32, float16, bfloat16 or int8");
  require(table.shape.size() == 1 && table.count > 0 && table.count <= 256, "input 'table' must have 1 to 256 entries");
}

FlatGaps::FlatGaps(const Tensor& gaps, const Extent& extent) : planes_{gaps.as<uint8_t>(), 0, 0} {
  require(gaps.type == element_uint8 && gaps.shape.size() == 2, "input 'gaps' must be uint8 of two dimensions");
  require(gaps.shape[0] >= 2 && gaps.shape[0] <= 8, "input 'gaps' must be 2 to 8 bits wide");
  require(gaps.shape[1] <= bytes_of_bits(extent.size()), "input 'gaps': more codes than elements");
  planes_.width = gaps.shape[0];
  planes_.bytes = gaps.shape[1];
  int64_t last = -1;
  walk([&](int64_t position) {
    last = position;
    ++entries_;
  });
  uint8_t codes[8] = {};
  if (planes_.bytes > 0) {
    planes_.eight(planes_.bytes - 1, codes);
    const uint32_t escape = (1U << planes_.width) - 1;
    require(std::any_of(codes, codes + 8, [&](uint8_t code) { return code != escape; }),
            "input 'gaps' must end with the last entry and its padding");
  }
  require(last < extent.size(), "input 'gaps': a position is outside the weight");
}

Mask::Mask(const Tensor& mask, const Extent& extent) : bits_(mask.as<uint8_t>()), bytes_(bytes_of_bits(extent.size())) {
  check_bits(mask, {bytes_}, extent.size(), "input 'mask' must be uint8 with a bit for each weight",
             "input 'mask': padding bits must be zero");
  for (int64_t i = 0; i < bytes_; ++i) {
    entries_ += std::popcount(bits_[i]);
  }
}

Signs::Signs(const Tensor& signs, int64_t entries) : bits(signs.as<uint8_t>()) {
  check_bits(signs, {bytes_of_bits(entries)}, entries, "input 'signs' must be uint8 with a bit for each entry",
             "input 'signs': padding bits must be zero");
}

}  // namespace sparse_export::rows
