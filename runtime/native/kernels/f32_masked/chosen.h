// Two of every four weights times one or two rows of X: the values are multiplied where they lie, one after the other,
// with the columns of X that their places choose. Spreading the weights instead would take as many multiply-adds again
// and a look-up for each eight columns; with more rows of X it is less, because a row needs nothing more. Internal
// linkage.
#pragma once

#include "segment.h"

namespace sparse_export::f32_masked {
namespace {

// The rows of X, each filled up with zeros to whole mask words.
struct Input {
  const float* x;
  int64_t pitch;
};

#if defined(__AVX2__)

#if defined(__AVX512F__)
constexpr int64_t chosen_registers = 2;  // of values, in a word of places: 32

class Choice {
 public:
  // Values [16 x number, ...) of a word of places, and their columns: two of 2 bits for every four columns.
  Choice(const uint8_t* places, int number) {
    int32_t bits = 0;
    std::memcpy(&bits, places + 4 * number, sizeof bits);
    const __m512i shifts = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i four = _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28);
    // (shifted & 3) | four
    at_ =
        _mm512_ternarylogic_epi32(_mm512_srlv_epi32(_mm512_set1_epi32(bits), shifts), _mm512_set1_epi32(3), four, 0xEA);
  }
  // Of 32 columns of X those that belong to the values.
  Vec of(const float* x) const {
    return reinterpret_cast<Vec>(_mm512_permutex2var_ps(_mm512_loadu_ps(x), at_, _mm512_loadu_ps(x + 16)));
  }

 private:
  __m512i at_;
};
#else
constexpr int64_t chosen_registers = 4;

class Choice {
 public:
  Choice(const uint8_t* places, int number) {
    int32_t bits = 0;
    std::memcpy(&bits, places + number / 2 * 4, sizeof bits);
    const __m256i shifts = number % 2 == 0 ? _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14)
                                           : _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30);
    const __m256i four = _mm256_setr_epi32(0, 0, 4, 4, 0, 0, 4, 4);
    const __m256i shifted = _mm256_srlv_epi32(_mm256_set1_epi32(bits), shifts);
    at_ = _mm256_or_si256(_mm256_and_si256(shifted, _mm256_set1_epi32(3)), four);
  }
  // Of 16 columns of X those that belong to the values: the first four values lie in the first eight.
  Vec of(const float* x) const {
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x), at_);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + 8), at_);
    return reinterpret_cast<Vec>(_mm256_blend_ps(low, high, 0xF0));
  }

 private:
  __m256i at_;
};
#endif

// sum[p] += products of `words` x 64 columns, all of which have their values, with `Pixels` rows of X.
template <int Pixels>
void add_chosen(const uint8_t* places, int64_t words, const float* values, const float* x, int64_t pitch, float* sum) {
  constexpr int ways = static_cast<int>(chosen_registers);
  Vec acc[Pixels][ways] = {};
  for (int64_t word = 0; word < words; ++word, places += 8, values += 32, x += 64) {
    const auto* ahead = reinterpret_cast<const char*>(values) + 8192;
    _mm_prefetch(ahead, _MM_HINT_T1);
    _mm_prefetch(ahead + 64, _MM_HINT_T1);
    SPARSE_EXPORT_UNROLL(4)
    for (int i = 0; i < ways; ++i) {
      const Choice choice(places, i);
      const Vec value = load(values + i * lanes);
      SPARSE_EXPORT_UNROLL(2)
      for (int p = 0; p < Pixels; ++p) {
        acc[p][i] += value * choice.of(x + p * pitch + 2 * i * lanes);
      }
    }
  }
  for (int p = 0; p < Pixels; ++p) {
    Vec all = acc[p][0];
    for (int i = 1; i < ways; ++i) {
      all += acc[p][i];
    }
    sum[p] += sum_of(all);
  }
}

// The same of one segment; how many of its columns are done: whole words of two of four.
inline int64_t add_chosen(const Weights& weights, int64_t row, int64_t number, Segment& segment, const float* values,
                          const Input& input, int64_t pixels, float* sum) {
  const int64_t first = number * segment_columns, at = row * weights.row_bits() + first;
  const int64_t words = smaller(weights.columns - first, segment_columns) / 64;
  if (weights.chosen != 2 || pixels > 2 || words == 0) {
    return 0;
  }
  const uint8_t* places = weights.mask + at / 8;
  if (at % 8 != 0) {
    take_bits(weights.mask, weights.mask_bytes, at, words * 64, segment.mask);
    places = reinterpret_cast<const uint8_t*>(segment.mask);
  }
  const auto add = pixels == 1 ? add_chosen<1> : add_chosen<2>;
  add(places, words, values, input.x + first, input.pitch, sum);
  return words * 64;
}

#else

inline int64_t add_chosen(const Weights&, int64_t, int64_t, Segment&, const float*, const Input&, int64_t, float*) {
  return 0;
}

#endif

}  // namespace
}  // namespace sparse_export::f32_masked
