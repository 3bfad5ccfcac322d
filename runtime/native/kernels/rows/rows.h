// Row sources: what formats without a kernel of their own are read as, rows of (column, value).
//
// Their positions or values are packed more tightly than a kernel could read them on every run. So they are decoded
// once, when the session is created, into the narrow CSR stream that f32_csr runs: one or two bytes a position and the
// format's own value type, a small multiple of the file and never the dense weight.
//
// One file a format: a function that checks every rule of the components (what they hold is not trusted) and gives
// the rows. `sources.def` is the table of them.
#pragma once

#include <cstring>
#include <memory>
#include <type_traits>

#include "core/geometry.h"
#include "core/memory.h"
#include "kernels/f32_csr/weights.h"

namespace sparse_export::rows {

// The weight [rows, channels, taps] as a matrix: column = channel * taps + tap.
struct Extent {
  int64_t rows, channels, taps;

  int64_t columns() const { return channels * taps; }
  int64_t size() const { return rows * columns(); }
};

Extent extent_of(const ConvGeometry& geometry);

// A CSR stream and its memory.
struct Rows {
  f32_csr::Weights weights;
  Array<uint32_t> indptr;
  std::unique_ptr<uint8_t[]> gaps, values;
};

// Takes every entry twice, rows and columns ascending: `count` sizes the stream, `add` fills it.
class Builder {
 public:
  Builder(const Extent& extent, int value_type);

  void count(int64_t row, int64_t column) {
    const int64_t gap = step(row, column);
    entries_[0] += 1 + (gap >> 8);
    entries_[1] += 1 + (gap >> 16);
  }

  // Instead of counting: the most entries there can be, fillers included, with gaps of one byte.
  void expect(int64_t entries) { entries_[0] = entries_[1] = entries; }

  // Between the passes. Throws where there is no memory.
  Rows& allocate();
  bool wide() const { return wide_; }  // gaps are of two bytes

  // `Bits` is as wide as the value type.
  template <class Bits>
  void add(int64_t row, int64_t column, Bits value) {
    int64_t gap = step(row, column);
    const int64_t most = wide_ ? 0xFFFF : 0xFF;
    for (; gap > most; gap -= most + 1) {
      put<Bits>(most, 0);  // a filler: the gap does not fit
    }
    put<Bits>(gap, value);
  }

  Rows finish();
  // The same of rows that were filled otherwise: so many entries, fillers included.
  Rows finish(int64_t entries);

 private:
  // Zeros skipped since the entry before, in the same row.
  int64_t step(int64_t row, int64_t column) {
    for (; row_ < row; column_ = -1) {
      ++row_;
      if (rows_.indptr != nullptr) {
        rows_.indptr[static_cast<size_t>(row_)] = static_cast<uint32_t>(filled_);
      }
    }
    const int64_t gap = column - column_ - 1;
    column_ = column;
    return gap;
  }

  template <class Bits>
  void put(int64_t gap, Bits value) {
    if (wide_) {
      const auto narrow = static_cast<uint16_t>(gap);
      std::memcpy(rows_.gaps.get() + filled_ * 2, &narrow, 2);
    } else {
      rows_.gaps[static_cast<size_t>(filled_)] = static_cast<uint8_t>(gap);
    }
    std::memcpy(rows_.values.get() + filled_ * static_cast<int64_t>(sizeof value), &value, sizeof value);
    ++filled_;
  }

  Extent extent_;
  int type_;
  int64_t entries_[2] = {0, 0};  // with gaps of one byte, of two
  bool wide_ = false;
  int64_t row_ = 0, column_ = -1, filled_ = 0;
  Rows rows_;
};

// Bytes of a value type that a weight may have; throws for others.
int64_t value_bytes(const Tensor& tensor, const char* rule);

// `walk(visit)` calls visit(row, column, value) for every entry in order, and is called twice; `value()` gives the
// bits.
template <class Walk>
Rows build(const Extent& extent, int value_type, Walk&& walk) {
  Builder builder(extent, value_type);
  walk([&](int64_t row, int64_t column, auto&&) { builder.count(row, column); });
  builder.allocate();
  walk([&](int64_t row, int64_t column, auto&& value) { builder.add(row, column, value()); });
  return builder.finish();
}

// The unsigned integer behind a pointer that `with_bits` gives.
template <class Pointer>
using bits_of = std::remove_const_t<std::remove_pointer_t<Pointer>>;

// Calls `body(const Bits*)` with the tensor's data as unsigned integers of its width.
template <class Body>
Rows with_bits(const Tensor& values, const char* rule, Body&& body) {
  switch (value_bytes(values, rule)) {
    case 1:
      return body(values.as<uint8_t>());
    case 2:
      return body(values.as<uint16_t>());
    default:
      return body(values.as<uint32_t>());
  }
}

#define SPARSE_EXPORT_SOURCE(format, prefix, ...) \
  Rows read_##format(const std::vector<Tensor>& components, const Extent& extent);
#include "sources.def"
#undef SPARSE_EXPORT_SOURCE

}  // namespace sparse_export::rows
