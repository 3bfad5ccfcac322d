// What several formats are made of: bit arrays, bit planes, gaps over the flat tensor.
#pragma once

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "rows.h"

namespace sparse_export::rows {

inline int64_t bytes_of_bits(int64_t bits) { return (bits + 7) / 8; }

// A component of bits: uint8 with this shape and zeros past the last bit of every row.
void check_bits(const Tensor& tensor, const Shape& shape, int64_t bits, const char* rule, const char* padding_rule);

inline bool bit_at(const uint8_t* bits, int64_t i) { return (bits[i / 8] >> (i % 8) & 1) != 0; }

// Bit planes uint8 [width, bytes]: number i has bit b in plane b.
struct Planes {
  const uint8_t* data;
  int64_t width, bytes;

  uint32_t operator[](int64_t i) const {
    uint32_t number = 0;
    for (int64_t plane = 0; plane < width; ++plane) {
      number |= static_cast<uint32_t>(bit_at(data + plane * bytes, i)) << plane;
    }
    return number;
  }

  // Numbers [8 byte, 8 byte + 8).
  void eight(int64_t byte, uint8_t (&numbers)[8]) const {
    uint64_t all = 0;
    for (int64_t plane = 0; plane < width; ++plane) {
      // One bit into each byte: bit i of the plane's byte to the lowest bit of byte i.
      const uint64_t spread = data[plane * bytes + byte] * 0x0101010101010101U & 0x8040201008040201U;
      // No byte is above 0x80: the sum carries into its highest bit unless it is zero.
      all |= ((spread + 0x7F7F7F7F7F7F7F7FU) >> 7 & 0x0101010101010101U) << plane;
    }
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(numbers, &all, sizeof all);
    } else {
      for (int i = 0; i < 8; ++i) {
        numbers[i] = static_cast<uint8_t>(all >> (8 * i));
      }
    }
  }

  // visit(i, number i) for the first `count`.
  template <class Visit>
  void walk(int64_t count, Visit&& visit) const {
    for (int64_t i = 0; i < count; i += 8) {
      uint8_t numbers[8];
      eight(i / 8, numbers);
      const int64_t end = std::min<int64_t>(count - i, 8);
      for (int64_t k = 0; k < end; ++k) {
        visit(i + k, numbers[k]);
      }
    }
  }
};

// `indices` of `count` numbers below `limit` <= 256: as many planes as they need, no number too large.
Planes read_indices(const Tensor& indices, int64_t count, int64_t limit);

// The table that indices look up: a weight's values, 1 to 256 of them.
void check_table(const Tensor& table);

// Gaps over the flat tensor: planes of 2 to 8 bits. A code below 2^width - 1 is the zeros skipped before the next
// entry; 2^width - 1 says "so many, and no entry".
class FlatGaps {
 public:
  FlatGaps(const Tensor& gaps, const Extent& extent);

  int64_t entries() const { return entries_; }

  // visit(position) for every entry, ascending.
  template <class Visit>
  void walk(Visit&& visit) const {
    const uint32_t escape = (1U << planes_.width) - 1;
    int64_t position = 0;
    for (int64_t byte = 0; byte < planes_.bytes; ++byte) {
      uint8_t codes[8];
      planes_.eight(byte, codes);
      // Which codes are entries nothing foretells: only how many there are is branched upon.
      int64_t found[8];
      int count = 0;
      for (const uint8_t code : codes) {
        const bool is_entry = code != escape;
        found[count] = position + code;
        position += code + is_entry;
        count += is_entry;
      }
      for (int i = 0; i < count; ++i) {
        visit(found[i]);
      }
    }
  }

 private:
  Planes planes_;
  int64_t entries_ = 0;
};

// The bits of a mask over the flat tensor.
class Mask {
 public:
  Mask(const Tensor& mask, const Extent& extent);

  int64_t entries() const { return entries_; }

  template <class Visit>
  void walk(Visit&& visit) const {
    for (int64_t byte = 0; byte < bytes_; ++byte) {
      for (uint32_t left = bits_[byte]; left != 0; left &= left - 1) {
        visit(byte * 8 + std::countr_zero(left));
      }
    }
  }

 private:
  const uint8_t* bits_;
  int64_t bytes_, entries_ = 0;
};

// Check every rule of these formats' components, for kernels of their own.
void check_bitmask(const std::vector<Tensor>& components, const Extent& extent);
void check_nm(const std::vector<Tensor>& components, const Extent& extent);

// The gaps within rows, and where rows end, of `positions` in the flat tensor. Gives the slots of the fillers.
template <class Gap, class Positions>
std::vector<int64_t> fill_gaps(const Extent& extent, const Positions& positions, Rows& rows) {
  constexpr int64_t most = std::numeric_limits<Gap>::max();
  std::vector<int64_t> fillers;
  auto* const gaps = reinterpret_cast<Gap*>(rows.gaps.get());
  const int64_t columns = extent.columns();
  int64_t filled = 0, row = 0, previous = -1, end = columns;
  positions.walk([&](int64_t position) {
    if (position >= end) [[unlikely]] {
      while (row < position / columns) {
        rows.indptr[static_cast<size_t>(++row)] = static_cast<uint32_t>(filled);
      }
      previous = row * columns - 1;
      end = previous + 1 + columns;
    }
    int64_t gap = position - previous - 1;
    previous = position;
    for (; gap > most; gap -= most + 1)
      [[unlikely]] {
        fillers.push_back(filled);
        gaps[filled++] = most;
      }
    gaps[filled++] = static_cast<Gap>(gap);
  });
  while (row < extent.rows) {
    rows.indptr[static_cast<size_t>(++row)] = static_cast<uint32_t>(filled);
  }
  return fillers;
}

// Moves `count` values apart so that zeros are at the slots of the fillers.
template <class Bits>
void spread(Bits* values, int64_t count, const std::vector<int64_t>& fillers) {
  int64_t end = count + static_cast<int64_t>(fillers.size());
  for (size_t i = fillers.size(); i-- > 0;) {
    const int64_t begin = fillers[i] + 1;
    std::copy_backward(values + count - (end - begin), values + count, values + end);
    count -= end - begin;
    end = fillers[i];
    values[end] = 0;
  }
}

// Rows of entries at flat positions; `fill(values)` writes the bits of all of them, in their order.
template <class Bits, class Positions, class Fill>
Rows build_flat(const Extent& extent, const Positions& positions, int value_type, Fill&& fill) {
  Builder builder(extent, value_type);
  const int64_t entries = positions.entries();
  // A filler skips 256 zeros. So few may be left out of account: what is allocated and not written takes no memory.
  const int64_t most_fillers = (extent.size() - entries) / 256;
  if (most_fillers * (static_cast<int64_t>(sizeof(Bits)) + 1) <= entries) {
    builder.expect(entries + most_fillers);
  } else {
    const int64_t columns = extent.columns();
    positions.walk([&](int64_t position) { builder.count(position / columns, position % columns); });
  }
  Rows& rows = builder.allocate();
  const std::vector<int64_t> fillers =
      builder.wide() ? fill_gaps<uint16_t>(extent, positions, rows) : fill_gaps<uint8_t>(extent, positions, rows);
  auto* const values = reinterpret_cast<Bits*>(rows.values.get());
  fill(values);
  spread(values, entries, fillers);
  return builder.finish(entries + static_cast<int64_t>(fillers.size()));
}

// +1 and -1 as int8, by sign bits.
struct Signs {
  const uint8_t* bits;
  int64_t entries;

  Signs(const Tensor& signs, int64_t entries);
  void operator()(uint8_t* values) const {
    for (int64_t i = 0; i < entries; ++i) {
      values[i] = bit_at(bits, i) ? 0xFF : 1;
    }
  }
};

}  // namespace sparse_export::rows
