// The mask and the values of some columns of one row, made ready for an inner loop. Internal linkage.
#pragma once

#include <array>
#include <cstring>

#include "call.h"
#include "core/simd.h"

namespace sparse_export::f32_masked {
namespace {

constexpr int64_t segment_words = segment_columns / 64;
constexpr int64_t slack = 16;  // values that an inner loop may read past the last one it uses

struct Segment {
  uint64_t mask[segment_words];
  float copy[segment_columns + slack];  // of values that are not read where they are
};

// Bits [at, at + count) of an array of `bytes` bytes, zeros behind them, up to a whole word.
inline void take_bits(const uint8_t* bits, int64_t bytes, int64_t at, int64_t count, uint64_t* to) {
  uint64_t raw[segment_words + 2] = {};
  const int64_t first = at / 8, shift = at % 8;
  std::memcpy(raw, bits + first, static_cast<size_t>(smaller((shift + count + 7) / 8, bytes - first)));
  const int64_t words = ceil_div(count, 64);
  for (int64_t i = 0; i < words; ++i) {
    to[i] = shift == 0 ? raw[i] : raw[i] >> shift | raw[i + 1] << (64 - shift);
  }
  if (count % 64 != 0) {
    to[words - 1] &= (uint64_t{1} << (count % 64)) - 1;
  }
}

// Of two places, four bits: which columns of their group of four they are (2:4), and which of two groups (1:4).
constexpr std::array<uint8_t, 16> columns_of(int64_t chosen) {
  std::array<uint8_t, 16> table{};
  for (int i = 0; i < 16; ++i) {
    const int second = chosen == 2 ? i >> 2 : (i >> 2) + 4;
    table[static_cast<size_t>(i)] = static_cast<uint8_t>(1 << (i & 3) | 1 << second);
  }
  return table;
}
constexpr std::array<std::array<uint8_t, 16>, 2> column_tables = {columns_of(1), columns_of(2)};

// Which columns the values of `words` x 64 columns lie in.
inline void columns_of_places(int64_t chosen, int64_t words, const uint64_t* places, uint64_t* mask) {
  const uint8_t* table = column_tables[static_cast<size_t>(chosen - 1)].data();
#if defined(__AVX2__)
  const __m128i look_up = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table)), low = _mm_set1_epi8(15);
  for (int64_t i = 0; i < words; i += 2) {  // 128 columns; the arrays have room for an even number of words
    const auto* from = reinterpret_cast<const __m128i*>(chosen == 2 ? places + i : places + i / 2);
    const __m128i some = chosen == 2 ? _mm_loadu_si128(from) : _mm_loadl_epi64(from);
    const __m128i even = _mm_shuffle_epi8(look_up, _mm_and_si128(some, low));
    const __m128i odd = _mm_shuffle_epi8(look_up, _mm_and_si128(_mm_srli_epi16(some, 4), low));
    const __m128i both = chosen == 2 ? _mm_or_si128(even, _mm_slli_epi16(odd, 4)) : _mm_unpacklo_epi8(even, odd);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(mask + i), both);
  }
#else
  for (int64_t i = 0; i < words; ++i) {
    uint64_t word = 0;
    for (int64_t column = 0; column < 64; column += chosen == 2 ? 4 : 8) {
      const int64_t at = chosen == 2 ? i * 64 + column : i * 32 + column / 2;
      word |= uint64_t{table[places[at / 64] >> (at % 64) & 15]} << column;
    }
    mask[i] = word;
  }
#endif
}

// Where the mask of a segment is: in the file, if it is whole words there, or made of what is.
//
// Which columns of a segment have values. Of places, those of a last group that lie past the columns read zeros of X,
// and values that are zero.
inline const uint8_t* mask_of(const Weights& weights, int64_t row, int64_t number, Segment& segment) {
  const int64_t first = number * segment_columns;
  const int64_t count = smaller(weights.columns - first, segment_columns);
  const int64_t at = row * weights.row_bits();
  auto* made = reinterpret_cast<const uint8_t*>(segment.mask);
  if (weights.chosen == 0) {
    if (at % 8 == 0 && count % 64 == 0) {
      return weights.mask + (at + first) / 8;
    }
    take_bits(weights.mask, weights.mask_bytes, at + first, count, segment.mask);
    return made;
  }
  uint64_t places[segment_words + 2] = {};
  const int64_t groups = ceil_div(count, 4), bits = weights.chosen * 2;
  take_bits(weights.mask, weights.mask_bytes, at + first / 4 * bits, groups * bits, places);
  const int64_t words = ceil_div(groups, 16);
  columns_of_places(weights.chosen, words, places, segment.mask);
  if (groups % 16 != 0) {
    segment.mask[words - 1] &= (uint64_t{1} << (groups % 16 * 4)) - 1;
  }
  return made;
}

template <class Value>
inline void convert(const Value* values, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = values[i];
  }
}

// The values of a segment as floats, with `slack` readable behind them.
inline const float* values_of(const Weights& weights, int64_t row, int64_t number, Segment& segment) {
  const int64_t begin = weights.begin(row, number), count = weights.end(row, number) - begin;
  switch (weights.values.type) {
    case element_float16:
      convert(weights.values.as<Float16>() + begin, count, segment.copy);
      break;
    case element_bfloat16:
      convert(weights.values.as<BFloat16>() + begin, count, segment.copy);
      break;
    case element_int8:
      convert(weights.values.as<int8_t>() + begin, count, segment.copy);
      break;
    default:
      if (begin + count + slack <= weights.entries) {
        return weights.values.as<float>() + begin;
      }
      std::memcpy(segment.copy, weights.values.as<float>() + begin, static_cast<size_t>(count) * 4);
  }
  std::memset(segment.copy + count, 0, slack * 4);
  return segment.copy;
}

}  // namespace
}  // namespace sparse_export::f32_masked
