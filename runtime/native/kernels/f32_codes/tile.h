// Weights of few values as floats in scratch that fits the first cache, never the whole weight: a block of them is
// decoded once for all pixels of a unit, and a dense inner loop multiplies it. Internal linkage.
#pragma once

#include "core/epilogue_vector.h"
#include "core/scratch.h"
#include "input.h"
#include "store.h"

namespace sparse_export::f32_codes {
namespace {

constexpr int64_t block_columns = 256;
#if defined(SPARSE_EXPORT_NEON)
constexpr int64_t block_rows = 8;  // 16 accumulators of 32 registers, and a vector of weights of each row
#else
constexpr int64_t block_rows = 6;  // 12 accumulators of 16 registers
#endif
constexpr int64_t block_vectors = 2;  // of pixels, at a time

#if defined(__AVX2__)
// The weights of a word whose codes are of one column.
class Decoder {
 public:
  explicit Decoder(const Weights& weights) {
    alignas(32) float value[16];
    for (int i = 0; i < 16; ++i) {
      value[i] = weights.value[i][0];
    }
    low_ = _mm256_load_ps(value);
    high_ = _mm256_load_ps(value + 8);
  }

  void decode(uint32_t word, float* to) const {
    const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i codes = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int32_t>(word)), shifts);
    const __m256 low = _mm256_permutevar8x32_ps(low_, codes), high = _mm256_permutevar8x32_ps(high_, codes);
    _mm256_storeu_ps(to, _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28))));
  }

 private:
  __m256 low_, high_;
};
#endif

// Columns [first, first + count) of one row; `first` is a whole number of blocks. Writes up to the end of a word.
template <int Span>
inline void decode_row(const Weights& weights, int64_t row, int64_t first, int64_t count, float* to) {
  constexpr int64_t of_word = word_codes * Span, of_block = block_codes * Span;
  const float(&value)[16][most_span] = weights.value;
#if defined(__AVX2__)
  const Decoder decoder(weights);
#endif
  for (int64_t begin = 0; begin < count; begin += of_block) {
    const uint32_t* word = weights.row_at((first + begin) / of_block, row);
    const int64_t end = smaller(count, begin + of_block);
    for (int64_t j = begin; j < end; j += of_word, word += group_rows) {
#if defined(__AVX2__)
      if constexpr (Span == 1) {
        decoder.decode(*word, to + j);
        continue;
      }
#endif
      uint32_t codes = *word;
      for (int64_t i = 0; i < word_codes; ++i, codes >>= 4) {
        std::memcpy(to + j + i * Span, value[codes & 15], Span * sizeof(float));
      }
    }
  }
}

inline void decode_row(const Weights& weights, int64_t row, int64_t first, int64_t count, float* to) {
  switch (weights.span) {
    case 4:
      return decode_row<4>(weights, row, first, count, to);
    case 2:
      return decode_row<2>(weights, row, first, count, to);
    default:
      return decode_row<1>(weights, row, first, count, to);
  }
}

// A weight that is zero takes no part, but 0 x infinity is not zero.
inline bool all_finite(const float* values, int64_t count) {
  Vec sum{};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    sum += load(values + i) * Vec{};
  }
  float rest = 0;
  for (; i < count; ++i) {
    rest += values[i] * 0;
  }
  return rest + sum_of(sum) == 0;
}

#if defined(SPARSE_EXPORT_NEON)
template <int Lane>
inline void add_column(const float* values, const Vec (&weight)[block_rows], Vec (&acc)[block_rows][block_vectors]) {
  const Vec a = load(values), b = load(values + lanes);
  SPARSE_EXPORT_UNROLL(8)
  for (int64_t k = 0; k < block_rows; ++k) {
    acc[k][0] = vfmaq_laneq_f32(acc[k][0], a, weight[k], Lane);
    acc[k][1] = vfmaq_laneq_f32(acc[k][1], b, weight[k], Lane);
  }
}

// Four columns: a row's weights come in one load and are multiplied where they are.
inline void add_columns(const float* values, int64_t pitch, const float* weights,
                        Vec (&acc)[block_rows][block_vectors]) {
  Vec weight[block_rows];
  SPARSE_EXPORT_UNROLL(8)
  for (int64_t k = 0; k < block_rows; ++k) {
    weight[k] = load(weights + k * block_columns);
  }
  add_column<0>(values, weight, acc);
  add_column<1>(values + pitch, weight, acc);
  add_column<2>(values + 2 * pitch, weight, acc);
  add_column<3>(values + 3 * pitch, weight, acc);
}
#endif

// Sums of `block_rows` rows and `block_vectors` vectors of pixels += weights x values.
inline void accumulate(const float* values, int64_t pitch, const float* weights, int64_t count, float* sum,
                       int64_t sum_pitch) {
  Vec acc[block_rows][block_vectors];
  SPARSE_EXPORT_UNROLL(8)
  for (int64_t k = 0; k < block_rows; ++k) {
    SPARSE_EXPORT_UNROLL(2)
    for (int64_t v = 0; v < block_vectors; ++v) {
      acc[k][v] = load(sum + k * sum_pitch + v * lanes);
    }
  }
  int64_t j = 0;
#if defined(SPARSE_EXPORT_NEON)
  for (; j + 4 <= count; j += 4) {
    add_columns(values + j * pitch, pitch, weights + j, acc);
  }
#endif
  for (; j < count; ++j) {
    const Vec a = load(values + j * pitch), b = load(values + j * pitch + lanes);
    SPARSE_EXPORT_UNROLL(8)
    for (int64_t k = 0; k < block_rows; ++k) {
      const Vec weight = broadcast(weights[k * block_columns + j]);
      acc[k][0] += weight * a;
      acc[k][1] += weight * b;
    }
  }
  SPARSE_EXPORT_UNROLL(8)
  for (int64_t k = 0; k < block_rows; ++k) {
    SPARSE_EXPORT_UNROLL(2)
    for (int64_t v = 0; v < block_vectors; ++v) {
      store(sum + k * sum_pitch + v * lanes, acc[k][v]);
    }
  }
}

// The same where an input is not finite.
inline void accumulate_used(const float* values, int64_t pitch, const float* weights, int64_t count, float* sum,
                            int64_t sum_pitch) {
  for (int64_t k = 0; k < block_rows; ++k) {
    for (int64_t j = 0; j < count; ++j) {
      const float weight = weights[k * block_columns + j];
      for (int64_t p = 0; weight != 0 && p < block_vectors * lanes; ++p) {
        sum[k * sum_pitch + p] += weight * values[j * pitch + p];
      }
    }
  }
}

inline float dot(const float* weights, const float* x, int64_t count, bool finite) {
  float total = 0;
  if (!finite) {
    for (int64_t j = 0; j < count; ++j) {
      total += weights[j] != 0 ? weights[j] * x[j] : 0;
    }
    return total;
  }
  Vec sum[4] = {};
  int64_t j = 0;
  for (; j + 4 * lanes <= count; j += 4 * lanes) {
    SPARSE_EXPORT_UNROLL(4)
    for (int64_t i = 0; i < 4; ++i) {
      sum[i] += load(weights + j + i * lanes) * load(x + j + i * lanes);
    }
  }
  const Vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (int64_t i = 0; i < lanes; ++i) {
    total += all[i];
  }
  for (; j < count; ++j) {
    total += weights[j] * x[j];
  }
  return total;
}

#if defined(SPARSE_EXPORT_NEON)
// One row of codes of four columns, a vector each, times one row of X that is finite.
inline float dot_codes(const Weights& weights, int64_t row, const float* x) {
  static_assert(most_span == lanes);
  constexpr int64_t of_word = word_codes * lanes, of_block = block_codes * lanes;
  Vec sum[4] = {};
  float rest = 0;
  for (int64_t first = 0; first < weights.columns; first += of_block) {
    const uint32_t* word = weights.row_at(first / of_block, row);
    const int64_t end = smaller(weights.columns, first + of_block);
    int64_t j = first;
    for (; j + of_word <= end; j += of_word, word += group_rows) {
      SPARSE_EXPORT_UNROLL(8)
      for (int64_t i = 0; i < word_codes; ++i) {
        sum[i % 4] += load(weights.value[*word >> (4 * i) & 15]) * load(x + j + i * lanes);
      }
    }
    for (int64_t i = 0; j + i < end; ++i) {
      rest += weights.value[*word >> (i / lanes * 4) & 15][i % lanes] * x[j + i];
    }
  }
  const Vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  return (all[0] + all[1]) + (all[2] + all[3]) + rest;
}
#endif

// A few rows of X: sums along the columns.
inline void few_pixels(const Call& call, const Part& part) {
  const int64_t columns = call.weights.columns;
  const float* x = call.x + part.pixel * columns;
  const bool finite = all_finite(x, part.pixels * columns);
  for (int64_t k = part.row; k < part.row + part.rows; ++k) {
    float sum[lanes] = {};
#if defined(SPARSE_EXPORT_NEON)
    if (part.pixels == 1 && call.weights.span == lanes && finite) {
      const int64_t at = part.pixel * call.weights.rows + k;
      call.y[at] = finish(call.epilogue, k, dot_codes(call.weights, k, x), at);
      continue;
    }
#endif
    for (int64_t first = 0; first < columns; first += block_columns) {
      alignas(64) float weights[block_columns];
      const int64_t count = smaller(columns - first, block_columns);
      decode_row(call.weights, k, first, count, weights);
      for (int64_t p = 0; p < part.pixels; ++p) {
        sum[p] += dot(weights, x + p * columns + first, count, finite);
      }
    }
    for (int64_t p = 0; p < part.pixels; ++p) {
      const int64_t at = (part.pixel + p) * call.weights.rows + k;
      call.y[at] = finish(call.epilogue, k, sum[p], at);
    }
  }
}

inline void gather(const InputBlock& block, int64_t pixels, int64_t count, float* values, int64_t pitch) {
  for (int64_t j = 0; j < count; ++j) {
    const float* from = block.base + block.column[j];
    for (int64_t p = 0; p < pixels; ++p) {
      values[j * pitch + p] = from[block.pixel[p]];
    }
  }
}

// Scratch of a unit: inputs [column][pixel], sums [row][pixel], weights [row][column].
inline bool run_tiles(const Call& call, const Cut& cut, const Part& part) {
  thread_local Scratch scratch;
  const int64_t grain = block_vectors * lanes, pitch = ceil_div(part.pixels, grain) * grain;
  const int64_t rows = ceil_div(part.rows, block_rows) * block_rows;
  const int64_t values_size = block_columns * pitch, sum_size = rows * pitch, weights_size = block_rows * block_columns;
  auto* values = reinterpret_cast<float*>(
      scratch.reserve(static_cast<size_t>(values_size + sum_size + weights_size + window_floats(call, part)) * 4));
  if (values == nullptr) {
    return false;
  }
  float* sum = values + values_size;
  float* weights = sum + sum_size;
  std::memset(values, 0, static_cast<size_t>(values_size + sum_size) * 4);
  InputBlock block;
  fill_pixels(call, part, block);
  const int64_t first_row = part.group * cut.rows + part.row;
  for (int64_t first = 0; first < call.weights.columns; first += block_columns) {
    const int64_t count = smaller(call.weights.columns - first, block_columns);
    fill_block(call, part, first, count, weights + weights_size, block);
    gather(block, part.pixels, count, values, pitch);
    const auto add = all_finite(values, count * pitch) ? accumulate : accumulate_used;
    for (int64_t k = 0; k < part.rows; k += block_rows) {
      for (int64_t i = 0; i < block_rows; ++i) {  // rows past the end repeat the last one
        decode_row(call.weights, first_row + smaller(k + i, part.rows - 1), first, count, weights + i * block_columns);
      }
      for (int64_t p = 0; p < part.pixels; p += grain) {
        add(values + p, pitch, weights, count, sum + k * pitch + p, pitch);
      }
    }
  }
  finish_part(call, cut, part, [&](int64_t row, int64_t pixel) { return sum[row * pitch + pixel]; });
  return true;
}

}  // namespace
}  // namespace sparse_export::f32_codes
