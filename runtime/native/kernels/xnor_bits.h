// Vectors of 64-bit words and moving runs of bits. Internal linkage: every target has its own.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd.h"

namespace sparse_export {
namespace {

constexpr int64_t word_lanes = lanes / 2;

typedef uint64_t WordVec __attribute__((vector_size(lanes * 4)));
typedef uint64_t UnalignedWordVec __attribute__((vector_size(lanes * 4), aligned(8), may_alias));

inline WordVec load_words(const uint64_t* p) { return *reinterpret_cast<const UnalignedWordVec*>(p); }
inline void store_words(uint64_t* p, WordVec v) { *reinterpret_cast<UnalignedWordVec*>(p) = v; }

// Ones in each lane.
inline WordVec count_ones(WordVec v) {
#if defined(__AVX512VPOPCNTDQ__)
  return reinterpret_cast<WordVec>(_mm512_popcnt_epi64(reinterpret_cast<__m512i>(v)));
#elif defined(__AVX512BW__)
  const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m512i low = _mm512_set1_epi8(15), bits = reinterpret_cast<__m512i>(v);
  const __m512i a = _mm512_shuffle_epi8(table, _mm512_and_si512(bits, low));
  const __m512i b = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(bits, 4), low));
  return reinterpret_cast<WordVec>(_mm512_sad_epu8(_mm512_add_epi8(a, b), _mm512_setzero_si512()));
#elif defined(__AVX2__)
  const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i low = _mm256_set1_epi8(15), bits = reinterpret_cast<__m256i>(v);
  const __m256i a = _mm256_shuffle_epi8(table, _mm256_and_si256(bits, low));
  const __m256i b = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(bits, 4), low));
  return reinterpret_cast<WordVec>(_mm256_sad_epu8(_mm256_add_epi8(a, b), _mm256_setzero_si256()));
#else
  v = v - ((v >> 1) & 0x5555555555555555U);
  v = (v & 0x3333333333333333U) + ((v >> 2) & 0x3333333333333333U);
  v = (v + (v >> 4)) & 0x0F0F0F0F0F0F0F0FU;
  v += v >> 8;
  v += v >> 16;
  v += v >> 32;
  return v & 0x7FU;
#endif
}

// Bit i is 1 where x[i] is not >= 0, for i < count <= lanes. NaN counts as negative, -0 does not.
inline uint32_t negative(const float* x, int64_t count) {
#if defined(__AVX512F__)
  return _mm512_mask_cmp_ps_mask(lane_mask(0, count), _mm512_maskz_loadu_ps(lane_mask(0, count), x),
                                 _mm512_setzero_ps(), _CMP_NGE_UQ);
#else
  uint32_t bits = 0;
#if defined(__AVX2__)
  if (count >= lanes) {
    return static_cast<uint32_t>(
        _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_setzero_ps(), _CMP_NGE_UQ)));
  }
#endif
  for (int64_t i = 0; i < count && i < lanes; ++i) {
    bits |= static_cast<uint32_t>(!(x[i] >= 0)) << i;
  }
  return bits;
#endif
}

// Signs of x[0..count) as words; the bits past `count` of the last word are zero.
inline void pack_signs(const float* x, int64_t count, uint64_t* to) {
  for (int64_t i = 0; i < count; i += 64) {
    uint64_t word = 0;
    const int64_t end = count - i < 64 ? count - i : 64;
    for (int64_t j = 0; j < end; j += lanes) {
      word |= static_cast<uint64_t>(negative(x + i + j, end - j)) << j;
    }
    to[i / 64] = word;
  }
}

inline uint64_t low_bits(int64_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// The 64 bits from bit `at` >= 0 on; the word after the one that holds `at` is read too.
inline uint64_t bits_at(const uint64_t* words, int64_t at) {
  const uint64_t* word = words + (static_cast<uint64_t>(at) >> 6);
  const uint64_t shift = static_cast<uint64_t>(at) & 63;
  return word[0] >> shift | word[1] << 1 << (63 - shift);
}

// Bits 0, 2, 4, ... of a word in its low half.
inline uint64_t even_bits(uint64_t v) {
  v &= 0x5555555555555555U;
  v = (v | v >> 1) & 0x3333333333333333U;
  v = (v | v >> 2) & 0x0F0F0F0F0F0F0F0FU;
  v = (v | v >> 4) & 0x00FF00FF00FF00FFU;
  v = (v | v >> 8) & 0x0000FFFF0000FFFFU;
  return (v | v >> 16) & 0x00000000FFFFFFFFU;
}

// Ors `count` <= 64 low bits of `word` into `target` from bit `at` on.
inline void put_bits(uint64_t* target, uint64_t at, uint64_t word, int64_t count) {
  word &= low_bits(count);
  target[at / 64] |= word << (at % 64);
  if (at % 64 + static_cast<uint64_t>(count) > 64) {
    target[at / 64 + 1] |= word >> (64 - at % 64);
  }
}

// Ors bits `from`, `from + step`, ... of `source` (two words of slack) into `count` bits of `target` from `to` on.
inline void copy_bits(const uint64_t* source, int64_t from, int64_t step, uint64_t* target, int64_t to, int64_t count) {
  const int64_t at_once = step == 1 ? 64 : step == 2 ? 32 : 1;
  for (; count > 0; count -= at_once, from += at_once * step, to += at_once) {
    uint64_t word = bits_at(source, from);
    if (step == 2) {
      word = even_bits(word);
    }
    put_bits(target, static_cast<uint64_t>(to), word, count < at_once ? count : at_once);
  }
}

// Bit p of m[j] <-> bit j of m[p] of a 64 x 64 matrix of bits. Hacker's Delight, section 7-3.
inline void transpose(uint64_t* m) {
  uint64_t mask = 0x00000000FFFFFFFFU;
  for (int64_t half = 32; half >= word_lanes; half /= 2, mask ^= mask << half) {
    const WordVec keep = WordVec{} + mask;
    for (int64_t block = 0; block < 64; block += 2 * half) {
      for (int64_t i = block; i < block + half; i += word_lanes) {
        const WordVec a = load_words(m + i), b = load_words(m + i + half);
        const WordVec swap = ((a >> half) ^ b) & keep;
        store_words(m + i, a ^ (swap << half));
        store_words(m + i + half, b ^ swap);
      }
    }
  }
  for (int64_t half = word_lanes / 2; half > 0; half /= 2, mask ^= mask << half) {
    WordVec upper{};
    for (int64_t i = 0; i < word_lanes; ++i) {
      upper[i] = static_cast<uint64_t>(i ^ half);
    }
    WordVec first{};
    for (int64_t i = 0; i < word_lanes; ++i) {
      first[i] = (i & half) == 0 ? ~uint64_t{0} : 0;
    }
    const WordVec keep = WordVec{} + mask;
    for (int64_t i = 0; i < 64; i += word_lanes) {
      const WordVec v = load_words(m + i);
      const WordVec partner = __builtin_shuffle(v, upper);
      // The lower of two words takes the partner's low bits into its high half, the upper the other way round.
      const WordVec low = (v & keep) | ((partner & keep) << half);
      const WordVec high = (v & ~keep) | ((partner & ~keep) >> half);
      store_words(m + i, (low & first) | (high & ~first));
    }
  }
}

}  // namespace
}  // namespace sparse_export
