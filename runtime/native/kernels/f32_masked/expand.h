// Weights under a mask, spread to where they belong: `lanes` columns in a vector, zero where there is no value.
#pragma once

#include <array>
#include <bit>

#include "segment.h"

namespace sparse_export::f32_masked {
namespace {

// The mask of 64 columns, and the values of those that have one.
#if defined(__AVX512F__)

// A permutation takes half as long as vexpandps, which waits for its mask to come from elsewhere (Zen 4 and 5).
class Word {
 public:
  Word(const uint8_t* mask, const float* values) : mask_(mask), values_(values) {
    std::memcpy(&bits_, mask, sizeof bits_);
    // Of every 16 columns, how many before each have values.
    const __m512i set = _mm512_movm_epi8(bits_);
    __m512i sum = _mm512_sub_epi8(_mm512_setzero_si512(), set);
    sum = _mm512_add_epi8(sum, _mm512_bslli_epi128(sum, 1));
    sum = _mm512_add_epi8(sum, _mm512_bslli_epi128(sum, 2));
    sum = _mm512_add_epi8(sum, _mm512_bslli_epi128(sum, 4));
    sum = _mm512_add_epi8(sum, _mm512_bslli_epi128(sum, 8));
    _mm512_store_si512(places_, _mm512_add_epi8(sum, set));
  }

  // Columns [at, at + 16): their values where they belong, zeros elsewhere.
  Vec expand(int at) const {
    uint16_t mask;
    std::memcpy(&mask, mask_ + at / 8, sizeof mask);
    const __m512i places = _mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(places_ + at)));
    const __m512 values = _mm512_loadu_ps(values_ + before(at));
    return reinterpret_cast<Vec>(_mm512_maskz_permutexvar_ps(mask, places, values));
  }
  int count() const { return std::popcount(bits_); }

 private:
  // Counted from the first: waiting for the columns before would take longer than all the rest.
  int before(int at) const { return at == 0 ? 0 : std::popcount(bits_ << (64 - at)); }

  const uint8_t* mask_;
  const float* values_;
  uint64_t bits_;
  alignas(64) uint8_t places_[64];
};

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

class Word {
 public:
  Word(const uint8_t* mask, const float* values) : values_(values) { std::memcpy(&bits_, mask, sizeof bits_); }

  Vec expand(int at) const {
    const auto eight = static_cast<uint8_t>(bits_ >> at);
    const __m256i places =
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(places_of_mask[eight].data())));
    const int before = at == 0 ? 0 : std::popcount(bits_ << (64 - at));
    const __m256 spread = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values_ + before), places);
    return reinterpret_cast<Vec>(_mm256_and_ps(spread, _mm256_castsi256_ps(_mm256_srai_epi32(places, 31))));
  }
  int count() const { return std::popcount(bits_); }

 private:
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
