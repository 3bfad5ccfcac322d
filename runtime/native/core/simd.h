// One vector of floats of the target this file is compiled for. Internal linkage: every target has its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(SPARSE_EXPORT_NEON)
#include <arm_neon.h>
#endif

// Unrolls the loop that follows; clang and GCC spell it differently.
#define SPARSE_EXPORT_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define SPARSE_EXPORT_UNROLL(times) SPARSE_EXPORT_PRAGMA(unroll times)
#else
#define SPARSE_EXPORT_UNROLL(times) SPARSE_EXPORT_PRAGMA(GCC unroll times)
#endif

namespace sparse_export {
namespace {

#if defined(__AVX512F__)
constexpr int64_t lanes = 16;
constexpr int64_t max_tile = 16;  // accumulators, of 32 registers
#elif defined(__AVX2__)
constexpr int64_t lanes = 8;
constexpr int64_t max_tile = 14;  // of 16 registers: one holds the weight
#elif defined(SPARSE_EXPORT_NEON)
constexpr int64_t lanes = 4;
constexpr int64_t max_tile = 24;  // of 32 registers: no operand is in memory, so loads need some
#else
constexpr int64_t lanes = 4;
constexpr int64_t max_tile = 12;  // one holds the weight, one the product
#endif
constexpr int64_t vector_bytes = lanes * 4;
constexpr int64_t narrow_lanes = 4;  // of the tiles that hold at most four pixels

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

typedef float Vec __attribute__((vector_size(lanes * 4)));
typedef float UnalignedVec __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
typedef float AlignedVec __attribute__((vector_size(lanes * 4), may_alias));
typedef int32_t IndexVec __attribute__((vector_size(lanes * 4)));
typedef uint32_t UnsignedVec __attribute__((vector_size(lanes * 4)));

// Modulo 2^32: a sum of signed numbers may not leave its range, not even in a vector.
inline IndexVec add_modulo(IndexVec a, IndexVec b) {
  return reinterpret_cast<IndexVec>(reinterpret_cast<UnsignedVec>(a) + reinterpret_cast<UnsignedVec>(b));
}

inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
inline Vec load_aligned(const float* p) { return *reinterpret_cast<const AlignedVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
inline void store_aligned(float* p, Vec v) { *reinterpret_cast<AlignedVec*>(p) = v; }

#if defined(__AVX512F__)
inline __mmask16 lane_mask(int64_t low, int64_t high) {
  const uint32_t upto = high >= lanes ? 0xFFFFU : (1U << high) - 1U;
  return static_cast<__mmask16>(upto & ~((1U << low) - 1U));
}
#elif defined(__AVX2__)
inline __m256i lane_mask(int64_t low, int64_t high) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i from = _mm256_set1_epi32(static_cast<int32_t>(low) - 1);
  const __m256i to = _mm256_set1_epi32(static_cast<int32_t>(high));
  return _mm256_and_si256(_mm256_cmpgt_epi32(lane, from), _mm256_cmpgt_epi32(to, lane));
}
#endif

#if defined(__AVX512F__)
typedef __mmask16 LaneMask;
#elif defined(__AVX2__)
typedef __m256i LaneMask;
#else
struct LaneMask {
  int64_t low, high;
};
inline LaneMask lane_mask(int64_t low, int64_t high) { return {low, high < lanes ? high : lanes}; }
#endif

#if defined(__AVX512F__) || defined(__AVX2__)
constexpr bool any_lanes_masked = true;  // masks are not only ranges
// The lanes that are not 0.
inline LaneMask mask_of(IndexVec chosen) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(chosen != 0));
#else
  return reinterpret_cast<__m256i>(chosen != 0);
#endif
}
#else
constexpr bool any_lanes_masked = false;
inline LaneMask mask_of(IndexVec) { return {0, 0}; }
#endif

// The lanes of the mask from p, zero elsewhere; nothing else is read.
inline Vec load_masked(const float* p, LaneMask mask) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(_mm512_maskz_loadu_ps(mask, p));
#elif defined(__AVX2__)
  return reinterpret_cast<Vec>(_mm256_maskload_ps(p, mask));
#else
  if (mask.low == 0 && mask.high == lanes) {
    return load(p);
  }
  Vec v{};
  for (int64_t i = 0; i < lanes; ++i) {
    if (i >= mask.low && i < mask.high) {
      v[i] = p[i];
    }
  }
  return v;
#endif
}

// Lanes [low, high) from p[low..high), zero elsewhere; nothing else is read. 0 <= low <= lanes, high may be larger.
inline Vec load_lanes(const float* p, int64_t low, int64_t high) {
  return low >= high ? Vec{} : load_masked(p, lane_mask(low, high));
}

// Writes lanes [0, count).
inline void store_lanes(float* p, Vec v, int64_t count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, lane_mask(0, count), reinterpret_cast<__m512>(v));
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, lane_mask(0, count), reinterpret_cast<__m256>(v));
#else
  if (count >= lanes) {
    store(p, v);
    return;
  }
  for (int64_t i = 0; i < lanes; ++i) {
    if (i < count) {
      p[i] = v[i];
    }
  }
#endif
}

template <int... I>
inline Vec take_even(Vec a, Vec b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}

// The lanes of even index of a followed by b.
inline Vec even_lanes(Vec a, Vec b) { return take_even(a, b, std::make_integer_sequence<int, lanes>()); }

template <int Lane, int... I>
inline IndexVec repeat_lane(IndexVec v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, (static_cast<void>(I), Lane)...);
}

// The last lane, in all lanes.
inline IndexVec last_lane(IndexVec v) { return repeat_lane<lanes - 1>(v, std::make_integer_sequence<int, lanes>()); }

template <int... I>
inline IndexVec count_up(std::integer_sequence<int, I...>) {
  return IndexVec{I...};
}

// 0, 1, 2, ...
inline IndexVec lane_numbers() { return count_up(std::make_integer_sequence<int, lanes>()); }

template <int... I>
inline Vec repeat(float value, std::integer_sequence<int, I...>) {
  return Vec{(static_cast<void>(I), value)...};
}

inline Vec broadcast(float value) { return repeat(value, std::make_integer_sequence<int, lanes>()); }

// Its lanes added up.
inline float sum_of(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(reinterpret_cast<__m512>(v));
#else
  typedef float Quad __attribute__((vector_size(16)));
  Quad quads[lanes / 4];
  std::memcpy(quads, &v, sizeof v);
  Quad sum = quads[0];
  for (int64_t i = 1; i < lanes / 4; ++i) {
    sum += quads[i];
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
#endif
}

}  // namespace
}  // namespace sparse_export
