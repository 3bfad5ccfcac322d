// From integer sums to outputs: `Requantization`, a vector at a time.
#pragma once

#include <bit>
#include <cstring>

#include "call.h"
#include "core/simd.h"

namespace sparse_export::s8_csr {
namespace {

inline Vec to_float(IndexVec v) { return __builtin_convertvector(v, Vec); }

inline Vec clamp(Vec v, float low, float high) {
#if defined(__AVX512F__)
  const __m512 above = _mm512_maskz_max_ps(0xFFFF, reinterpret_cast<__m512>(v), _mm512_set1_ps(low));
  return reinterpret_cast<Vec>(_mm512_maskz_min_ps(0xFFFF, above, _mm512_set1_ps(high)));
#elif defined(__AVX2__)
  const __m256 above = _mm256_max_ps(reinterpret_cast<__m256>(v), _mm256_set1_ps(low));
  return reinterpret_cast<Vec>(_mm256_min_ps(above, _mm256_set1_ps(high)));
#else
  const Vec lows = broadcast(low), highs = broadcast(high);
  v = v < lows ? lows : v;
  return v > highs ? highs : v;
#endif
}

// Added to a small number, it leaves no bits for a fraction: the sum is rounded to nearest even, its low bits hold the
// integer.
constexpr float magic = 12582912.0F;

inline Vec round_small(Vec v) { return (v + broadcast(magic)) - broadcast(magic); }

inline IndexVec round_to_integer(Vec v) {
  return reinterpret_cast<IndexVec>(v + broadcast(magic)) - std::bit_cast<int32_t>(magic);
}

// Bytes of lanes [0, count).
inline void store_bytes(uint8_t* p, IndexVec v, int64_t count) {
#if defined(__AVX512BW__)
  const __m128i narrow = _mm512_maskz_cvtepi32_epi8(0xFFFF, reinterpret_cast<__m512i>(v));
  constexpr int64_t half = lanes / 2;
  if (count >= lanes) {
    return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow);
  }
  if (count >= half) {  // two stores that overlap: masked stores of bytes are slow
    const __m128i places = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i ends = _mm_add_epi8(places, _mm_set1_epi8(static_cast<char>(count - half)));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), narrow);
    return _mm_storel_epi64(reinterpret_cast<__m128i*>(p + count - half), _mm_shuffle_epi8(narrow, ends));
  }
  _mm_mask_storeu_epi8(p, lane_mask(0, count), narrow);
#else
  typedef uint8_t Narrow __attribute__((vector_size(lanes)));
  const auto narrow = __builtin_convertvector(v, Narrow);
  std::memcpy(p, &narrow, static_cast<size_t>(smaller(count, lanes)));
#endif
}

inline IndexVec load_integers(const uint8_t* p, bool is_signed, int64_t count) {
#if defined(__AVX512BW__)
  const __m128i bytes = _mm_maskz_loadu_epi8(lane_mask(0, count), p);
  return reinterpret_cast<IndexVec>(is_signed ? _mm512_maskz_cvtepi8_epi32(0xFFFF, bytes)
                                              : _mm512_maskz_cvtepu8_epi32(0xFFFF, bytes));
#else
  IndexVec v{};
  for (int64_t i = 0; i < count && i < lanes; ++i) {
    v[i] = is_signed ? static_cast<int8_t>(p[i]) : p[i];
  }
  return v;
#endif
}

// Outputs [at, at + count), a vector at most, from their scaled sums.
inline void finish_vector(const Call& call, Vec scaled, int64_t count, int64_t at) {
  const Requantization& out = call.out;
  if (out.floats) {
    store_lanes(static_cast<float*>(call.y) + at, scaled, count);
    return;
  }
  const Vec y = clamp(scaled, out.low, out.high);
  IndexVec q;
  if (out.residual) {
    const Vec mine = round_small(y) * broadcast(out.ratio);
    const Vec theirs = to_float(load_integers(call.z + at, out.signed_z, count) - out.zero_z) * broadcast(out.ratio_z);
    q = round_to_integer(clamp(mine + theirs, out.low_z, out.high_z));
  } else {
    q = round_to_integer(y);
  }
  store_bytes(static_cast<uint8_t*>(call.y) + at, q + out.zero, count);
}

// Outputs [at, at + count) of row k, from its sums with their bias: count is any number.
inline void finish(const Call& call, int64_t k, const int32_t* sums, int64_t count, int64_t at) {
  const Vec multiplier = broadcast(call.out.multiplier[k]);
  for (int64_t i = 0; i < count; i += lanes) {
    IndexVec sum;
    std::memcpy(&sum, sums + i, sizeof sum);  // a tile's sums are whole vectors, but not always from here
    finish_vector(call, to_float(sum) * multiplier, smaller(lanes, count - i), at + i);
  }
}

// Outputs [at, at + count) of one pixel, rows k and on, from their sums.
inline void finish_rows(const Call& call, int64_t k, int64_t count, const int32_t* sums, int64_t at) {
  for (int64_t i = 0; i < count; i += lanes) {
    const int64_t here = smaller(lanes, count - i);
    IndexVec sum, bias{};
    Vec multiplier{};
    std::memcpy(&sum, sums + i, sizeof sum);
    std::memcpy(&bias, call.out.bias + k + i, static_cast<size_t>(here) * sizeof(int32_t));
    std::memcpy(&multiplier, call.out.multiplier + k + i, static_cast<size_t>(here) * sizeof(float));
    finish_vector(call, to_float(add_modulo(sum, bias)) * multiplier, here, at + i);
  }
}

}  // namespace
}  // namespace sparse_export::s8_csr
