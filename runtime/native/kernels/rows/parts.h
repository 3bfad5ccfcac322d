// What several formats are made of: bit arrays, bit planes, gaps over the flat tensor.
#pragma once

#include <bit>
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
    for (int i = 0; i < 8; ++i) {
      numbers[i] = static_cast<uint8_t>(all >> (8 * i));
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
      for (const uint8_t code : codes) {
        position += code;
        if (code != escape) {
          visit(position++);
        }
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

// Rows of entries at flat positions; `value(entry)` gives the bits of each.
template <class Positions, class Value>
Rows build_flat(const Extent& extent, const Positions& positions, int value_type, Value&& value) {
  const int64_t columns = extent.columns();
  return build(extent, value_type, [&](auto&& visit) {
    int64_t entry = 0, row = 0, start = 0;
    positions.walk([&](int64_t position) {
      if (position - start >= columns) {
        row = position / columns;
        start = row * columns;
      }
      visit(row, position - start, [&, entry] { return value(entry); });
      ++entry;
    });
  });
}

// +1 and -1 as int8, by sign bits.
struct Signs {
  const uint8_t* bits;

  Signs(const Tensor& signs, int64_t entries);
  uint8_t operator()(int64_t entry) const { return bit_at(bits, entry) ? 0xFF : 1; }
};

}  // namespace sparse_export::rows
