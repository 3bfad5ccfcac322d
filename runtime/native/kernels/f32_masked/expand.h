// Weights under a mask, spread to where they belong: `lanes` columns in a vector, zero where there is no value.
#pragma once

#include <array>
#include <bit>

#include "segment.h"

namespace sparse_export::f32_masked {
namespace {

#if defined(__AVX512F__)

// Takes the values of 16 columns from `values`, and moves on.
inline Vec expand(uint64_t bits, const float*& values) {
  const auto mask = static_cast<__mmask16>(bits);
  const __m512 spread = _mm512_maskz_expand_ps(mask, _mm512_loadu_ps(values));
  values += std::popcount(static_cast<uint32_t>(mask));
  return reinterpret_cast<Vec>(spread);
}

#elif defined(__AVX2__)

// For every mask of 8 columns: which value each takes, and 0x80 where it takes one.
constexpr std::array<std::array<uint8_t, 8>, 256> places_of_mask = [] {
  std::array<std::array<uint8_t, 8>, 256> table{};
  for (size_t mask = 0; mask < 256; ++mask) {
    for (size_t column = 0, next = 0; column < 8; ++column) {
      if ((mask >> column & 1) != 0) {
        table[mask][column] = static_cast<uint8_t>(0x80 | next++);
      }
    }
  }
  return table;
}();

inline Vec expand(uint64_t bits, const float*& values) {
  const auto mask = static_cast<uint8_t>(bits);
  const __m256i places =
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(places_of_mask[mask].data())));
  const __m256 spread = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values), places);
  values += std::popcount(uint32_t{mask});
  return reinterpret_cast<Vec>(_mm256_blendv_ps(_mm256_setzero_ps(), spread, _mm256_castsi256_ps(places)));
}

#else

inline Vec expand(uint64_t bits, const float*& values) {
  Vec spread{};
  for (int64_t i = 0; i < lanes; ++i) {
    const uint64_t bit = bits >> i & 1;
    spread[i] = bit != 0 ? *values : 0;
    values += bit;
  }
  return spread;
}

#endif

}  // namespace
}  // namespace sparse_export::f32_masked
