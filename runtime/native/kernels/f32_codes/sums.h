// Weights of few values times float activations where no instruction looks up in a register: SSE2.
//
// The sixteen sums that a code can stand for lie in the first cache, each for four pixels side by side (or for one,
// where a matrix product has no more rows of X). A code is then one load and one addition for all the columns it covers
// and all those pixels, exactly as float sums: sixteen multiply-adds of 1-bit weights, where the vectors of this target
// take eight instructions. Internal linkage.
#pragma once

#include "core/epilogue_vector.h"
#include "core/scratch.h"
#include "input.h"
#include "store.h"

namespace sparse_export::f32_codes {
namespace {

// What a look-up finds: the sums of one pixel, or of `lanes`.
template <class Found>
constexpr int64_t pixels_of = static_cast<int64_t>(sizeof(Found) / sizeof(float));
constexpr int64_t rows_at_once = 4;  // whose additions do not wait for each other

// The inputs of one column at `pixels_of<Found>` pixels; past the last pixel they are zero.
template <class Found>
Found gather(const InputBlock& block, int64_t column, int64_t pixel, int64_t pixels) {
  const float* from = block.base + block.column[column];
  if constexpr (pixels_of<Found> == 1) {
    return from[block.pixel[pixel]];
  } else {
    Found found{};
    SPARSE_EXPORT_UNROLL(4)
    for (int64_t p = 0; p < pixels_of<Found>; ++p) {
      found[p] = pixel + p < pixels ? from[block.pixel[pixel + p]] : 0;
    }
    return found;
  }
}

// Tables of `count` columns: [code][sum]; those of a word's codes past the last column hold zeros.
template <class Found, int Span, Kind kind>
void build_sums(const Weights& weights, const InputBlock& block, int64_t pixel, int64_t pixels, int64_t count,
                Found* to) {
  constexpr int own = kind == Kind::full ? 16 : 8;
  constexpr int64_t of_word = word_codes * Span;
  for (int64_t j = 0; j < ceil_div(count, of_word) * of_word; j += Span, to += 16) {
    Found x[Span];
    for (int c = 0; c < Span; ++c) {
      x[c] = j + c < count ? gather<Found>(block, j + c, pixel, pixels) : Found{};
    }
    for (int i = 0; i < own; ++i) {
      Found sum{};
      for (int c = 0; c < Span; ++c) {
        if (j + c < count && weights.value[i][c] != 0) {  // 0 x infinity is none
          sum += x[c] * weights.value[i][c];
        }
      }
      to[i] = sum;
      if constexpr (kind == Kind::odd) {
        to[i + 8] = -sum;
      }
    }
  }
}

// sum[row] += the sums that `count` codes of each row stand for; rows lie side by side in groups.
template <class Found>
void add_sums(const uint32_t* words, int64_t group_words, int64_t rows, const Found* table, int64_t count, Found* sum) {
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    const uint32_t* word = words + row / group_rows * group_words + row % group_rows;
    Found acc[rows_at_once];
    SPARSE_EXPORT_UNROLL(4)
    for (int64_t r = 0; r < rows_at_once; ++r) {
      acc[r] = sum[row + r];
    }
    const Found* at = table;
    for (int64_t left = count; left > 0; left -= word_codes, word += group_rows, at += word_codes * 16) {
      uint32_t codes[rows_at_once];
      SPARSE_EXPORT_UNROLL(4)
      for (int64_t r = 0; r < rows_at_once; ++r) {
        codes[r] = word[r];
      }
      SPARSE_EXPORT_UNROLL(8)
      for (int64_t i = 0; i < word_codes; ++i) {
        SPARSE_EXPORT_UNROLL(4)
        for (int64_t r = 0; r < rows_at_once; ++r) {
          acc[r] += at[i * 16 + (codes[r] >> (4 * i) & 15)];
        }
      }
    }
    SPARSE_EXPORT_UNROLL(4)
    for (int64_t r = 0; r < rows_at_once; ++r) {
      sum[row + r] = acc[r];
    }
  }
}

// One unit's scratch.
template <class Found>
struct SumRoom {
  Found* table;  // [code][sum]
  Found* sum;    // [pixels][row]
  float* copy;   // padded input
};

template <class Found, int Span, Kind kind>
void sum_up(const Call& call, const Part& part, int64_t rows, const SumRoom<Found>& room) {
  const Weights& weights = call.weights;
  constexpr int64_t block_columns = block_codes * Span;
  InputBlock block;
  fill_pixels(call, part, block);
  for (int64_t first = 0; first < weights.columns; first += block_columns) {
    const int64_t count = smaller(weights.columns - first, block_columns), number = first / block_columns;
    fill_block(call, part, first, count, room.copy, block);
    const uint32_t* words = weights.at(number, part.group, part.row);
    const int64_t group_words = smaller(weights.words() - number * block_words, block_words) * group_rows;
    Found* sum = room.sum;
    for (int64_t p = 0; p < part.pixels; p += pixels_of<Found>, sum += rows) {
      build_sums<Found, Span, kind>(weights, block, p, part.pixels, count, room.table);
      add_sums(words, group_words, rows, room.table, ceil_div(count, Span), sum);
    }
  }
}

template <class Found>
bool run_sums(const Call& call, const Cut& cut, const Part& part) {
  thread_local Scratch scratch;
  const int64_t rows = ceil_div(part.rows, group_rows) * group_rows, steps = ceil_div(part.pixels, pixels_of<Found>);
  constexpr int64_t table = block_codes * 16;
  const int64_t sums = steps * rows, found = static_cast<int64_t>(sizeof(Found));
  char* data = scratch.reserve(static_cast<size_t>((table + sums) * found + window_floats(call, part) * 4));
  if (data == nullptr) {
    return false;
  }
  auto* entries = reinterpret_cast<Found*>(data);
  std::memset(data + table * found, 0, static_cast<size_t>(sums * found));
  const SumRoom<Found> room = {entries, entries + table, reinterpret_cast<float*>(entries + table + sums)};
  with_codes(call.weights, [&]<int Span, Kind kind>() { sum_up<Found, Span, kind>(call, part, rows, room); });
  const auto* sum = reinterpret_cast<const float*>(room.sum);
  finish_part(call, cut, part, [&](int64_t row, int64_t pixel) {
    return sum[(pixel / pixels_of<Found> * rows + row) * pixels_of<Found> + pixel % pixels_of<Found>];
  });
  return true;
}

}  // namespace
}  // namespace sparse_export::f32_codes
