// Vectors of 64-bit words, and words of bits. Internal linkage: every target has its own.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/simd.h"

namespace sparse_export::bit_bit {
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

// Ones of one vector after the other, counted lane by lane: `add_ones` at most `most_additions` times, then `total`.
#if defined(__ARM_FEATURE_DOTPROD)
typedef uint32x4_t Ones;
constexpr int64_t most_additions = 0;  // any number: a lane holds the ones of a whole row

inline void add_ones(Ones& ones, WordVec v) {
  ones = vdotq_u32(ones, vcntq_u8(reinterpret_cast<uint8x16_t>(v)), vdupq_n_u8(1));
}

inline WordVec total(Ones ones) { return reinterpret_cast<WordVec>(vpaddlq_u32(ones)); }
#elif defined(SPARSE_EXPORT_NEON)
typedef uint16x8_t Ones;
constexpr int64_t most_additions = 65535 / 16;  // of two bytes of ones to a lane

inline void add_ones(Ones& ones, WordVec v) { ones = vpadalq_u8(ones, vcntq_u8(reinterpret_cast<uint8x16_t>(v))); }

inline WordVec total(Ones ones) { return reinterpret_cast<WordVec>(vpaddlq_u32(vpaddlq_u16(ones))); }
#else
typedef WordVec Ones;
constexpr int64_t most_additions = 0;

inline void add_ones(Ones& ones, WordVec v) { ones += count_ones(v); }

inline WordVec total(Ones ones) { return ones; }
#endif

// The products that are -1: of signs x, zero where there is no input, and weights w; `outside` says where that is.
inline WordVec products(WordVec x, WordVec w, WordVec outside) {
#if defined(__ARM_FEATURE_SHA3)
  return reinterpret_cast<WordVec>(vbcaxq_u64(reinterpret_cast<uint64x2_t>(x), reinterpret_cast<uint64x2_t>(w),
                                              reinterpret_cast<uint64x2_t>(outside)));
#else
  return x ^ (w & ~outside);
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

#if defined(SPARSE_EXPORT_NEON)
// Bytes of all ones where x[0..16) are >= 0.
inline uint8x16_t not_negative(const float* x) {
  const uint32x4_t a = vcgezq_f32(vld1q_f32(x)), b = vcgezq_f32(vld1q_f32(x + 4));
  const uint32x4_t c = vcgezq_f32(vld1q_f32(x + 8)), d = vcgezq_f32(vld1q_f32(x + 12));
  const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
  const uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(c), vreinterpretq_u16_u32(d));
  return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

inline uint64_t sign_word_of_64(const float* x) {
  const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201U));
  const uint8x16_t a = vandq_u8(not_negative(x), bit), b = vandq_u8(not_negative(x + 16), bit);
  const uint8x16_t c = vandq_u8(not_negative(x + 32), bit), d = vandq_u8(not_negative(x + 48), bit);
  const uint8x16_t quarters = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
  return ~vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(quarters, quarters)), 0);
}
#endif

// Signs of x[0..count) as the low bits of a word, count <= 64; the others are zero.
inline uint64_t sign_word(const float* x, int64_t count) {
  uint64_t word = 0;
#if defined(SPARSE_EXPORT_NEON)
  if (count >= 64) {
    return sign_word_of_64(x);
  }
#endif
  for (int64_t j = 0; j < count; j += lanes) {
    word |= static_cast<uint64_t>(negative(x + j, count - j)) << j;
  }
  return word;
}

inline uint64_t low_bits(int64_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// `bytes` <= 8 bytes as a word.
inline uint64_t load_bytes(const uint8_t* from, int64_t bytes) {
  uint64_t word = 0;
  if (bytes >= 8) {
    std::memcpy(&word, from, 8);
  } else {
    std::memcpy(&word, from, static_cast<size_t>(bytes));
  }
  return word;
}

inline void store_bytes(uint8_t* to, uint64_t word, int64_t bytes) {
  if (bytes >= 8) {
    std::memcpy(to, &word, 8);
  } else {
    std::memcpy(to, &word, static_cast<size_t>(bytes));
  }
}

// `count` <= 64 bits from bit `at` on, of `bytes` bytes that hold them.
inline uint64_t bits_at(const uint8_t* bits, int64_t bytes, int64_t at, int64_t count) {
  const int64_t first = at / 8, shift = at % 8;
  uint64_t word = load_bytes(bits + first, bytes - first) >> shift;
  if (shift + count > 64) {
    word |= static_cast<uint64_t>(bits[first + 8]) << (64 - shift);
  }
  return word & low_bits(count);
}

// Ors `count` <= 64 low bits of `word` into `target` from bit `at` on.
inline void put_bits(uint64_t* target, uint64_t at, uint64_t word, int64_t count) {
  word &= low_bits(count);
  target[at / 64] |= word << (at % 64);
  if (at % 64 + static_cast<uint64_t>(count) > 64) {
    target[at / 64 + 1] |= word >> (64 - at % 64);
  }
}

template <int Distance, int... I>
inline WordVec partners(WordVec v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, (I ^ Distance)...);
}

// The steps of `transpose` whose partners lie in one vector.
template <int Half>
inline void swap_within(uint64_t* m, uint64_t mask) {
  if constexpr (Half > 0) {
    WordVec first{};
    for (int64_t i = 0; i < word_lanes; ++i) {
      first[i] = (i & Half) == 0 ? ~uint64_t{0} : 0;
    }
    const WordVec keep = WordVec{} + mask;
    for (int64_t i = 0; i < 64; i += word_lanes) {
      const WordVec v = load_words(m + i);
      const WordVec partner = partners<Half>(v, std::make_integer_sequence<int, word_lanes>());
      // The lower of two words takes the partner's low bits into its high half, the upper the other way round.
      const WordVec low = (v & keep) | ((partner & keep) << Half);
      const WordVec high = (v & ~keep) | ((partner & ~keep) >> Half);
      store_words(m + i, (low & first) | (high & ~first));
    }
    swap_within<Half / 2>(m, mask ^ mask << (Half / 2));
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
  swap_within<word_lanes / 2>(m, mask);
}

}  // namespace
}  // namespace sparse_export::bit_bit
