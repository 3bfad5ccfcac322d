// Weights under a mask, spread to where they belong: `lanes` columns in a vector, zero where there is no value.
#pragma once

#include <array>
#include <bit>

#include "segment.h"

namespace sparse_export::f32_masked {
namespace {

// The mask of 64 columns, and the values of those that have one.
#if defined(__AVX2__)

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

class Word {
 public:
  Word(const uint8_t* mask, const float* values) : values_(values) { std::memcpy(&bits_, mask, sizeof bits_); }

  // Columns [at, at + lanes): their values where they belong, zeros elsewhere. Two halves on AVX-512 too: vexpandps
  // takes as long as both, because its mask comes from a general register (Zen 5).
  Vec expand(int at) const {
#if defined(__AVX512F__)
    return reinterpret_cast<Vec>(_mm512_insertf32x8(_mm512_castps256_ps512(eight(at)), eight(at + 8), 1));
#else
    return reinterpret_cast<Vec>(eight(at));
#endif
  }
  int count() const { return std::popcount(bits_); }

 private:
  // Columns [at, at + 8). Their values are counted from the first: waiting for the columns before takes longer.
  __m256 eight(int at) const {
    const auto mask = static_cast<uint8_t>(bits_ >> at);
    const __m256i places =
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(places_of_mask[mask].data())));
    const int before = at == 0 ? 0 : std::popcount(bits_ << (64 - at));
    const __m256 spread = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values_ + before), places);
    return _mm256_and_ps(spread, _mm256_castsi256_ps(_mm256_srai_epi32(places, 31)));
  }

  const float* values_;
  uint64_t bits_;
};

#else

class Word {
 public:
  Word(const uint8_t* mask, const float* values) : values_(values) { std::memcpy(&bits_, mask, sizeof bits_); }

  Vec expand(int at) const {
    const float* values = values_ + (at == 0 ? 0 : std::popcount(bits_ << (64 - at)));
    Vec spread{};
    for (int64_t i = 0; i < lanes; ++i) {
      const uint64_t bit = bits_ >> (at + i) & 1;
      spread[i] = bit != 0 ? *values : 0;
      values += bit;
    }
    return spread;
  }
  int count() const { return std::popcount(bits_); }

 private:
  const float* values_;
  uint64_t bits_;
};

#endif

static_assert(std::endian::native == std::endian::little);

}  // namespace
}  // namespace sparse_export::f32_masked
