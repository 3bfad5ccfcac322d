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
  if (limit < int64_t{1} << planes.width) {
    int64_t highest = 0;
    planes.walk(count, [&](int64_t, uint8_t number) { highest = std::max<int64_t>(highest, number); });
    require(highest < limit, "input 'indices': an index is outside the table");
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
  // Entries and zeros are sums over all codes: of the bits of each plane, and of those that are set in all planes.
  const int64_t width = planes_.width, bytes = planes_.bytes, escape = (1 << width) - 1;
  int64_t zeros = 0, escapes = 0;
  for (int64_t byte = 0; byte < bytes; byte += 8) {
    const size_t length = static_cast<size_t>(std::min<int64_t>(bytes - byte, 8));
    uint64_t all = ~uint64_t{0};
    for (int64_t plane = 0; plane < width; ++plane) {
      uint64_t bits = 0;
      std::memcpy(&bits, planes_.data + plane * bytes + byte, length);
      zeros += int64_t{std::popcount(bits)} << plane;
      all &= bits;
    }
    escapes += std::popcount(all);
  }
  entries_ = 8 * bytes - escapes;
  int64_t padding = 0;  // escapes behind the last entry
  if (bytes > 0) {
    uint8_t codes[8];
    planes_.eight(bytes - 1, codes);
    while (padding < 8 && codes[7 - padding] == escape) {
      ++padding;
    }
    require(padding < 8, "input 'gaps' must end with the last entry and its padding");
  }
  const int64_t last = zeros - padding * escape + entries_ - 1;
  require(last < extent.size(), "input 'gaps': a position is outside the weight");
}

Mask::Mask(const Tensor& mask, const Extent& extent) : bits_(mask.as<uint8_t>()), bytes_(bytes_of_bits(extent.size())) {
  check_bits(mask, {bytes_}, extent.size(), "input 'mask' must be uint8 with a bit for each weight",
             "input 'mask': padding bits must be zero");
  for (int64_t i = 0; i < bytes_; ++i) {
    entries_ += std::popcount(bits_[i]);
  }
}

Signs::Signs(const Tensor& signs, int64_t count) : bits(signs.as<uint8_t>()), entries(count) {
  check_bits(signs, {bytes_of_bits(entries)}, entries, "input 'signs' must be uint8 with a bit for each entry",
             "input 'signs': padding bits must be zero");
}

}  // namespace sparse_export::rows
