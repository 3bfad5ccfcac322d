// One row of a tile to bytes, four vectors at a time: the arithmetic of epilogue.h, where saturating instructions
// clamp.
//
// A result below the range needs no comparison: what is rounded to an integer, and added to the zero point, saturates
// at 0. Above it, numbers too large for an integer would become the smallest one, so there the comparison stays.
#pragma once

#include <cstring>

#include "call.h"
#include "core/simd.h"
#include "kernels/f32_csr/arrange.h"

namespace sparse_export::s8_csr {
namespace {

// Bytes from one place to another, `length` of them; short ones without a call.
inline void copy_bytes(const uint8_t* from, uint8_t* to, int64_t length) {
  const auto ends = [&](auto size) {  // two copies, which may overlap
    constexpr auto bytes = static_cast<int64_t>(decltype(size)::value);
    char head[bytes], tail[bytes];
    std::memcpy(head, from, bytes);
    std::memcpy(tail, from + length - bytes, bytes);
    std::memcpy(to, head, bytes);
    std::memcpy(to + length - bytes, tail, bytes);
  };
  if (length > 128) {
    std::memcpy(to, from, static_cast<size_t>(length));
  } else if (length >= 64) {
    ends(std::integral_constant<size_t, 64>());
  } else if (length >= 32) {
    ends(std::integral_constant<size_t, 32>());
  } else if (length >= 16) {
    ends(std::integral_constant<size_t, 16>());
  } else if (length >= 8) {
    ends(std::integral_constant<size_t, 8>());
  } else if (length >= 4) {
    ends(std::integral_constant<size_t, 4>());
  } else {
    for (int64_t i = 0; i < length; ++i) {
      to[i] = from[i];
    }
  }
}

#if defined(__AVX512BW__)
// Masked forms: GCC 12 sees uninitialised values in the others.
constexpr __mmask16 all_lanes = 0xFFFF;
typedef __m512 Floats;
typedef __m512i Integers;
inline Floats floats(float value) { return _mm512_set1_ps(value); }
inline Integers integers(int32_t value) { return _mm512_set1_epi32(value); }
inline Integers shorts(int32_t value) { return _mm512_set1_epi16(static_cast<int16_t>(value)); }
inline Integers load_sums(const int32_t* p) { return _mm512_load_si512(p); }
inline Floats load_sums(const float* p) { return _mm512_load_ps(p); }
inline Floats as_numbers(Integers v) { return _mm512_maskz_cvtepi32_ps(all_lanes, v); }
inline Integers nearest(Floats v) { return _mm512_maskz_cvtps_epi32(all_lanes, v); }
inline Floats round_to_nearest(Floats v) {
  return _mm512_maskz_roundscale_ps(all_lanes, v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Floats lower(Floats a, Floats b) { return _mm512_maskz_min_ps(all_lanes, a, b); }
inline Floats higher(Floats a, Floats b) { return _mm512_maskz_max_ps(all_lanes, a, b); }
inline Floats plus(Floats a, Floats b) { return _mm512_maskz_add_ps(all_lanes, a, b); }
inline Floats times(Floats a, Floats b) { return _mm512_maskz_mul_ps(all_lanes, a, b); }
inline Integers minus(Integers a, Integers b) { return _mm512_maskz_sub_epi32(all_lanes, a, b); }
inline Integers widen_bytes(const uint8_t* p, bool is_signed) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return is_signed ? _mm512_maskz_cvtepi8_epi32(all_lanes, bytes) : _mm512_maskz_cvtepu8_epi32(all_lanes, bytes);
}
// Of four vectors to the bytes of one, with the zero point.
inline Integers saturate(const Integers* q, Integers zero) {
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero);
  // Packed within quarters of the vectors: four bytes of each of the four.
  const __m512i places = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_maskz_permutexvar_epi32(all_lanes, places, _mm512_packus_epi16(low, high));
}
inline void store_all(uint8_t* p, Integers v) { _mm512_storeu_si512(p, v); }
#elif defined(__AVX2__)
typedef __m256 Floats;
typedef __m256i Integers;
inline Floats floats(float value) { return _mm256_set1_ps(value); }
inline Integers integers(int32_t value) { return _mm256_set1_epi32(value); }
inline Integers shorts(int32_t value) { return _mm256_set1_epi16(static_cast<int16_t>(value)); }
inline Integers load_sums(const int32_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
inline Floats load_sums(const float* p) { return _mm256_load_ps(p); }
inline Floats as_numbers(Integers v) { return _mm256_cvtepi32_ps(v); }
inline Integers nearest(Floats v) { return _mm256_cvtps_epi32(v); }
inline Floats round_to_nearest(Floats v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats lower(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats higher(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats plus(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Integers minus(Integers a, Integers b) { return _mm256_sub_epi32(a, b); }
inline Integers widen_bytes(const uint8_t* p, bool is_signed) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
}
inline Integers saturate(const Integers* q, Integers zero) {
  const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero);
  const __m256i high = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), zero);
  const __m256i places = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), places);
}
inline void store_all(uint8_t* p, Integers v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
#endif

#if defined(__AVX2__)
constexpr bool any_quarters = true;
constexpr int64_t quarters = 4;  // vectors of sums that make one vector of bytes

// What all vectors of a row share.
struct RowScale {
  Floats bias, multiplier, low, high, ratio, ratio_z, high_z;
  Integers zero, zero_z;
};

inline RowScale row_scale(const Requantization& out, int64_t row) {
  return {floats(static_cast<float>(out.bias[row])),
          floats(out.multiplier[row]),
          floats(out.low),
          floats(out.high),
          floats(out.ratio),
          floats(out.ratio_z),
          floats(out.high_z),
          shorts(out.zero),
          integers(out.zero_z)};
}

// Sums with their bias; and as whole floats without it, where both and their sum are exact or rounded once.
inline Floats scaled(const RowScale& by, const int32_t* sums) {
  return times(as_numbers(load_sums(sums)), by.multiplier);
}
inline Floats scaled(const RowScale& by, const float* sums) { return times(plus(load_sums(sums), by.bias), by.multiplier); }

template <bool Residual, class Sum>
inline Integers quantize(const RowScale& by, const Sum* sums, const uint8_t* z, bool signed_z) {
  Floats y = lower(scaled(by, sums), by.high);
  if constexpr (Residual) {
    y = round_to_nearest(higher(y, by.low));
    const Floats theirs = as_numbers(minus(widen_bytes(z, signed_z), by.zero_z));
    y = lower(plus(times(y, by.ratio), times(theirs, by.ratio_z)), by.high_z);
  }
  return nearest(y);
}

// Sums of `Vectors` vectors, one to four, to bytes in their order.
template <bool Residual, int Vectors, class Sum>
inline Integers quantize_bytes(const RowScale& by, const Sum* sums, const uint8_t* z, bool signed_z) {
  Integers q[quarters] = {};
  SPARSE_EXPORT_UNROLL(4)
  for (int i = 0; i < Vectors; ++i) {
    q[i] = quantize<Residual>(by, sums + i * lanes, z + i * lanes, signed_z);
  }
  return saturate(q, by.zero);
}

// All vectors of a row; `bytes` and `z` have room for whole vectors of bytes.
template <bool Residual, class Sum>
inline void quantize_row(const Requantization& out, int64_t row, const Sum* sums, int64_t vectors, const uint8_t* z,
                         uint8_t* bytes) {
  const RowScale by = row_scale(out, row);
  int64_t i = 0;
  const auto put = [&](Integers v) { store_all(bytes + i * lanes, v); };
  for (; i + quarters <= vectors; i += quarters) {
    put(quantize_bytes<Residual, 4>(by, sums + i * lanes, z + i * lanes, out.signed_z));
  }
  switch (vectors - i) {
    case 3:
      return put(quantize_bytes<Residual, 3>(by, sums + i * lanes, z + i * lanes, out.signed_z));
    case 2:
      return put(quantize_bytes<Residual, 2>(by, sums + i * lanes, z + i * lanes, out.signed_z));
    case 1:
      return put(quantize_bytes<Residual, 1>(by, sums + i * lanes, z + i * lanes, out.signed_z));
    default:
      return;
  }
}
#else
constexpr bool any_quarters = false;
constexpr int64_t quarters = 1;
template <bool Residual, class Sum>
inline void quantize_row(const Requantization&, int64_t, const Sum*, int64_t, const uint8_t*, uint8_t*) {}
#endif

// The bytes of one row, from its sums: `count` runs of a tile of `vectors`, in Y from `row_at` on, `image_pitch` between
// images.
template <bool Residual, class Sum>
inline void finish_runs(const Call& call, const f32_csr::Run* runs, int64_t count, int64_t vectors, int64_t row,
                        int64_t row_at, int64_t image_pitch, const Sum* sums) {
  constexpr int64_t whole = quarters * lanes;
  alignas(vector_bytes) uint8_t bytes[max_tile * lanes + whole];
  alignas(vector_bytes) uint8_t z[max_tile * lanes + whole];
  const auto place = [&](const f32_csr::Run& run) { return run.image * image_pitch + row_at + run.pixel; };
  auto* const y = static_cast<uint8_t*>(call.y);
  // Of one run, what fills registers goes straight to its place.
  const int64_t straight = count == 1 ? runs[0].length / whole * whole : 0;
  if (straight != 0) {
    const int64_t at = place(runs[0]);
    quantize_row<Residual>(call.out, row, sums, straight / lanes, call.z + at, y + at);
    if (straight == runs[0].length) {
      return;
    }
  }
  const auto each_rest = [&](auto&& visit) {
    for (int64_t n = 0; n < count; ++n) {
      visit(place(runs[n]) + straight, runs[n].position, runs[n].length - straight);
    }
  };
  if constexpr (Residual) {
    each_rest([&](int64_t at, int64_t position, int64_t length) { copy_bytes(call.z + at, z + position, length); });
  }
  quantize_row<Residual>(call.out, row, sums + straight, vectors - straight / lanes, z, bytes);
  each_rest([&](int64_t at, int64_t position, int64_t length) { copy_bytes(bytes + position, y + at, length); });
}

template <bool Residual>
inline void finish_runs(const Call& call, const f32_csr::Tile& tile, int64_t row, int64_t row_at, int64_t image_pitch,
                        const int32_t* sums) {
  finish_runs<Residual>(call, tile.run, tile.runs, tile.vectors, row, row_at, image_pitch, sums);
}

}  // namespace
}  // namespace sparse_export::s8_csr
