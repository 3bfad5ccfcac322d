// The inner loop: one row's groups of one block of columns, added to one tile held in registers.
#pragma once

#include <cstring>
#include <utility>

#include "core/simd.h"
#include "kernels/f32_csr/decode.h"

namespace sparse_export::s8_csr {
namespace {

// Four weights in every lane, ready for `add`: sum += dot product of four unsigned activations and four weights, exact
// (modulo 2^32).
#if defined(__AVX512VNNI__)
struct FourWeights {
  __m512i weights;
};
inline FourWeights spread(const uint32_t* p) { return {_mm512_set1_epi32(static_cast<int32_t>(*p))}; }
inline IndexVec add(IndexVec sum, IndexVec pixels, const FourWeights& four) {
  return reinterpret_cast<IndexVec>(
      _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(pixels), four.weights));
}
#elif defined(__AVXVNNI__)
struct FourWeights {
  __m256i weights;
};
inline FourWeights spread(const uint32_t* p) { return {_mm256_set1_epi32(static_cast<int32_t>(*p))}; }
inline FourWeights of_lanes(__m256i weights) { return {weights}; }
inline IndexVec add(IndexVec sum, IndexVec pixels, const FourWeights& four) {
  return reinterpret_cast<IndexVec>(
      _mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(pixels), four.weights));
}
#elif defined(__SSE2__)
// Channels 0 and 2, and 1 and 3, as 16-bit numbers: their products cannot saturate.
struct FourWeights {
  IndexVec even, odd;
};
inline IndexVec repeat(int32_t value) { return IndexVec{} + value; }
inline FourWeights spread(const uint32_t* p) {
  const auto lane = [&](int shift) { return static_cast<uint32_t>(static_cast<int8_t>(*p >> shift)); };
  return {repeat(static_cast<int32_t>((lane(0) & 0xFFFFU) | lane(16) << 16)),
          repeat(static_cast<int32_t>((lane(8) & 0xFFFFU) | lane(24) << 16))};
}
#if defined(__AVX2__) && !defined(__AVX512F__)
inline FourWeights of_lanes(__m256i weights) {
  return {reinterpret_cast<IndexVec>(_mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8)),
          reinterpret_cast<IndexVec>(_mm256_srai_epi16(weights, 8))};
}
#endif
inline IndexVec multiply(IndexVec a, IndexVec b) {
#if defined(__AVX512BW__)
  return reinterpret_cast<IndexVec>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<IndexVec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
  return reinterpret_cast<IndexVec>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#endif
}
inline IndexVec add(IndexVec sum, IndexVec pixels, const FourWeights& four) {
  typedef uint16_t Halves __attribute__((vector_size(lanes * 4)));
  const auto odd = reinterpret_cast<IndexVec>(reinterpret_cast<Halves>(pixels) >> 8);
  return add_modulo(sum, multiply(pixels & 0x00FF00FF, four.even) + multiply(odd, four.odd));
}
#elif defined(__ARM_FEATURE_MATMUL_INT8)
struct FourWeights {
  int8x16_t weights;
};
inline FourWeights spread(const uint32_t* p) { return {vreinterpretq_s8_u32(vdupq_n_u32(*p))}; }
inline IndexVec add(IndexVec sum, IndexVec pixels, const FourWeights& four) {
  return reinterpret_cast<IndexVec>(
      vusdotq_s32(reinterpret_cast<int32x4_t>(sum), reinterpret_cast<uint8x16_t>(pixels), four.weights));
}
#elif defined(__ARM_FEATURE_DOTPROD)
// Of signed numbers only: x = (x - 128) + 128, and 128 times the weights' sum is the same for all pixels.
struct FourWeights {
  int8x16_t weights;
  IndexVec sum;
};
inline FourWeights spread(const uint32_t* p) {
  const int8x16_t weights = vreinterpretq_s8_u32(vdupq_n_u32(*p));
  const int32x4_t half = vdotq_s32(vdupq_n_s32(0), weights, vdupq_n_s8(64));
  return {weights, reinterpret_cast<IndexVec>(vaddq_s32(half, half))};
}
inline IndexVec add(IndexVec sum, IndexVec pixels, const FourWeights& four) {
  const auto centred = reinterpret_cast<int8x16_t>(pixels ^ static_cast<int32_t>(0x80808080U));
  return reinterpret_cast<IndexVec>(
      vdotq_s32(reinterpret_cast<int32x4_t>(add_modulo(sum, four.sum)), centred, four.weights));
}
#elif defined(SPARSE_EXPORT_NEON)
// Channels 0 and 2, and 1 and 3, as 16-bit numbers: two multiplications give the four products of a pixel in pairs.
struct FourWeights {
  int16x8_t even, odd;
};
inline FourWeights spread(const uint32_t* p) {
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(*p)));
  return {vuzp1q_s16(wide, wide), vuzp2q_s16(wide, wide)};
}
inline IndexVec add(IndexVec sum, IndexVec pixels, const FourWeights& four) {
  const auto halves = reinterpret_cast<uint16x8_t>(pixels);
  const int16x8_t even = vreinterpretq_s16_u16(vandq_u16(halves, vdupq_n_u16(255)));
  const int16x8_t odd = vreinterpretq_s16_u16(vshrq_n_u16(halves, 8));
  const int32x4_t low =
      vmlal_s16(vmull_s16(vget_low_s16(even), vget_low_s16(four.even)), vget_low_s16(odd), vget_low_s16(four.odd));
  const int32x4_t high = vmlal_high_s16(vmull_high_s16(even, four.even), odd, four.odd);
  return add_modulo(sum, reinterpret_cast<IndexVec>(vpaddq_s32(low, high)));
}
#else
struct FourWeights {
  int32_t weights[4];
};
inline FourWeights spread(const uint32_t* p) {
  const auto lane = [&](int shift) { return int32_t{static_cast<int8_t>(*p >> shift)}; };
  return {{lane(0), lane(8), lane(16), lane(24)}};
}
inline IndexVec add(IndexVec sum, IndexVec pixels, const FourWeights& four) {
  return add_modulo(sum, (pixels & 255) * four.weights[0] + (pixels >> 8 & 255) * four.weights[1] +
                             (pixels >> 16 & 255) * four.weights[2] + (pixels >> 24 & 255) * four.weights[3]);
}
#endif

inline IndexVec load_pixels(const char* p) {
  typedef int32_t Aligned __attribute__((vector_size(lanes * 4), may_alias));
  return *reinterpret_cast<const Aligned*>(p);
}

inline void store_sums(int32_t* p, IndexVec v) {
  typedef int32_t Aligned __attribute__((vector_size(lanes * 4), may_alias));
  *reinterpret_cast<Aligned*>(p) = v;
}

template <int T>
inline __attribute__((always_inline)) void add_group(IndexVec* sum, const char* from, const uint32_t* weights) {
  const FourWeights four = spread(weights);
#if defined(SPARSE_EXPORT_NEON)
  // Two neighbours are one load, if both come first: see f32_csr/tile.h.
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i + 1 < T; i += 2) {
    IndexVec a = load_pixels(from + i * vector_bytes), b = load_pixels(from + (i + 1) * vector_bytes);
    asm("" : "+w"(a), "+w"(b));
    sum[i] = add(sum[i], a, four);
    sum[i + 1] = add(sum[i + 1], b, four);
  }
  if constexpr (T % 2 != 0) {
    sum[T - 1] = add(sum[T - 1], load_pixels(from + (T - 1) * vector_bytes), four);
  }
#else
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i < T; ++i) {
    sum[i] = add(sum[i], load_pixels(from + i * vector_bytes), four);
  }
#endif
}

struct TwoInputs {
  const char* first;
  const char* second;
};

// Two neighbouring offsets in one load: the loads of pixels leave little room for others.
inline TwoInputs two_inputs(const char* input, const uint32_t* offsets) {
  uint64_t both;
  std::memcpy(&both, offsets, sizeof both);
  const char* first = input + static_cast<uint32_t>(both);
  const char* second = input + (both >> 32);
  asm("" : "+r"(first), "+r"(second));  // the whole address in one register: an index register as well is slower
  return {first, second};
}

// A tile whose last vector holds at most half a vector of pixels: instructions of half the width, which run twice as
// often, compute that one.
#if defined(__AVX512VNNI__)
constexpr bool any_halves = true;
typedef __m256i HalfVec;
inline HalfVec load_half(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
inline HalfVec repeat_half(int32_t value) { return _mm256_set1_epi32(value); }
inline HalfVec add_halves(HalfVec a, HalfVec b) { return _mm256_add_epi32(a, b); }
inline IndexVec widen(HalfVec v) { return reinterpret_cast<IndexVec>(_mm512_zextsi256_si512(v)); }
inline HalfVec add_half(HalfVec sum, const char* from, const uint32_t* weights) {
  return _mm256_dpbusd_epi32(sum, load_half(from), _mm512_castsi512_si256(spread(weights).weights));
}
#else
constexpr bool any_halves = false;
typedef IndexVec HalfVec;
inline HalfVec load_half(const void* p) { return load_pixels(static_cast<const char*>(p)); }
inline HalfVec repeat_half(int32_t value) { return IndexVec{} + value; }
inline HalfVec add_halves(HalfVec a, HalfVec b) { return add_modulo(a, b); }
inline IndexVec widen(HalfVec v) { return v; }
inline HalfVec add_half(HalfVec sum, const char* from, const uint32_t* weights) {
  return add(sum, load_half(from), spread(weights));
}
#endif

// Accumulators of T vectors, and of half a vector behind them.
template <int T, bool Half>
struct Sums {
  IndexVec whole[T > 0 ? T : 1];
  HalfVec half;

  SPARSE_EXPORT_INLINE void add(const char* from, const uint32_t* weights) {
    if constexpr (T > 0) {
      add_group<T>(whole, from, weights);
    }
    if constexpr (Half) {
      half = add_half(half, from + T * vector_bytes, weights);
    }
  }
};

// sums = start + sum over groups of weights * input[offset ...], where start is the bias or, without one, the sums
// themselves. Few vectors need several sets of accumulators, ten or more in all, to hide the latency of the dot
// product.
template <int T, bool Half>
inline __attribute__((always_inline)) void accumulate(const char* input, const uint32_t* offsets,
                                                      const uint32_t* weights, int64_t groups, int32_t* sums,
                                                      const int32_t* bias) {
  constexpr int all = T + (Half ? 1 : 0);
  constexpr int sets = all >= 10 ? 1 : all >= 5 ? 2 : all >= 3 ? 4 : 8;
  constexpr int step = sets > 4 ? sets : 4;
  Sums<T, Half> sum[sets] = {};
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i < T; ++i) {
    sum[0].whole[i] =
        bias != nullptr ? IndexVec{} + *bias : load_pixels(reinterpret_cast<const char*>(sums + i * lanes));
  }
  if constexpr (Half) {
    sum[0].half = bias != nullptr ? repeat_half(*bias) : load_half(sums + T * lanes);
  }
  int64_t group = 0;
  for (; group + step <= groups; group += step) {
    SPARSE_EXPORT_UNROLL(8)
    for (int at = 0; at < step; at += 2) {
      const TwoInputs from = two_inputs(input, offsets + group + at);
      sum[at % sets].add(from.first, weights + group + at);
      sum[(at + 1) % sets].add(from.second, weights + group + at + 1);
    }
  }
  for (; group < groups; ++group) {
    sum[0].add(input + offsets[group], weights + group);
  }
  SPARSE_EXPORT_UNROLL(8)
  for (int set = 1; set < sets; ++set) {
    SPARSE_EXPORT_UNROLL(32)
    for (int i = 0; i < T; ++i) {
      sum[0].whole[i] = add_modulo(sum[0].whole[i], sum[set].whole[i]);
    }
    sum[0].half = add_halves(sum[0].half, sum[set].half);
  }
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i < T; ++i) {
    store_sums(sums + i * lanes, sum[0].whole[i]);
  }
  if constexpr (Half) {
    store_sums(sums + T * lanes, widen(sum[0].half));
  }
}

// One row over one block of columns.
using AddGroups = void (*)(const char* input, const uint32_t* offsets, const uint32_t* weights, int64_t groups,
                           int32_t* sums, const int32_t* bias);

template <int T, bool Half>
void add_groups(const char* input, const uint32_t* offsets, const uint32_t* weights, int64_t groups, int32_t* sums,
                const int32_t* bias) {
  accumulate<T, Half>(input, offsets, weights, groups, sums, bias);
}

template <int... T>
AddGroups add_groups_table(int64_t vectors, bool half, std::integer_sequence<int, T...>) {
  static constexpr AddGroups whole[] = {add_groups<T + 1, false>...};
  static constexpr AddGroups halves[] = {add_groups<(any_halves ? T : T + 1), any_halves>...};
  return half ? halves[vectors - 1] : whole[vectors - 1];
}

// The loop for tiles of this many vectors, of which the last may hold half as many pixels.
inline AddGroups add_groups_of(int64_t vectors, bool half) {
  return add_groups_table(vectors, half, std::make_integer_sequence<int, max_tile>());
}

#if defined(__AVX2__) && !defined(__AVX512VBMI2__)
// Of each mask of two groups, where each of their weights comes from; bytes of 255 stand for none.
struct Expanding {
  uint8_t place[256][8];
  constexpr Expanding() : place{} {
    for (unsigned mask = 0; mask < 256; ++mask) {
      uint8_t next = 0;
      for (unsigned lane = 0; lane < 8; ++lane) {
        place[mask][lane] = (mask >> lane & 1U) != 0 ? next++ : uint8_t{255};
      }
    }
  }
};
alignas(64) constexpr Expanding expanding;
#endif

// The weights of groups [first, first + count), four to each: zeros where the mask has none. `first` is even; writes
// whole vectors.
inline void expand(const uint8_t* masks, const int8_t* values, int64_t count, uint32_t* out) {
#if defined(__AVX512VBMI2__)
  for (int64_t i = 0; i < count; i += 16) {
    uint64_t mask;
    std::memcpy(&mask, masks + i / 2, sizeof mask);
    const __m512i packed = _mm512_loadu_si512(values);
    _mm512_storeu_si512(out + i, _mm512_maskz_expand_epi8(mask, packed));
    values += __builtin_popcountll(mask);
    __builtin_prefetch(values + 512);
  }
#elif defined(__AVX2__)
  const auto two = [](unsigned mask, const int8_t* from, uint32_t* to) {
    const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    const __m128i places = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(expanding.place[mask]));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi8(packed, places));
  };
  for (int64_t i = 0; i < count; i += 4) {  // where the values of the second two begin does not wait for the first
    const unsigned first = masks[i / 2], second = masks[i / 2 + 1];
    two(first, values, out + i);
    two(second, values + __builtin_popcount(first), out + i + 2);
    values += __builtin_popcount(first | second << 8);
    __builtin_prefetch(values + 512);
  }
#else
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t mask = masks[i / 2] >> (i % 2 * 4) & 15U;
    uint32_t four = 0;
    for (int lane = 0; lane < 4; ++lane) {
      const uint32_t chosen = mask >> lane & 1U;
      four |= (static_cast<uint8_t>(*values) & (0U - chosen)) << (8 * lane);
      values += chosen;
    }
    out[i] = four;
  }
#endif
}

}  // namespace
}  // namespace sparse_export::s8_csr
