// Gaps of four bits, as bytes for the decoder.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/simd.h"

namespace sparse_export::s8_csr {
namespace {

// Halves of bytes that are read and written together: behind the last too.
constexpr int64_t spread_at_once = 32;

inline void spread_halves(const uint8_t* from, int64_t count, uint8_t* to) {
  for (int64_t i = 0; i < count; i += spread_at_once) {
#if defined(__AVX2__)
    const __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i / 2)));
    const __m256i both = _mm256_or_si256(wide, _mm256_slli_epi16(wide, 4));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_and_si256(both, _mm256_set1_epi8(15)));
#else
    for (int64_t j = i; j < i + spread_at_once; j += 2) {
      to[j] = from[j / 2] & 15;
      to[j + 1] = from[j / 2] >> 4;
    }
#endif
  }
}

}  // namespace
}  // namespace sparse_export::s8_csr
