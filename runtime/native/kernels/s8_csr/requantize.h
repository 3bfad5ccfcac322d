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
  if (length > 64) {
    std::memcpy(to, from, static_cast<size_t>(length));
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
constexpr bool any_quarters = true;
constexpr int64_t quarters = 4;  // vectors of sums that make one vector of bytes

// What all vectors of a row share.
struct RowScale {
  __m512 multiplier, low, high, ratio, ratio_z, high_z;
  __m512i zero, zero_z;
};

inline RowScale row_scale(const Requantization& out, int64_t row) {
  return {_mm512_set1_ps(out.multiplier[row]),
          _mm512_set1_ps(out.low),
          _mm512_set1_ps(out.high),
          _mm512_set1_ps(out.ratio),
          _mm512_set1_ps(out.ratio_z),
          _mm512_set1_ps(out.high_z),
          _mm512_set1_epi16(static_cast<int16_t>(out.zero)),
          _mm512_set1_epi32(out.zero_z)};
}

template <bool Residual>
inline __m512i quantize(const RowScale& by, const int32_t* sums, const uint8_t* z, bool signed_z) {
  constexpr __mmask16 all = 0xFFFF;
  __m512 y = _mm512_maskz_mul_ps(all, _mm512_maskz_cvtepi32_ps(all, _mm512_load_si512(sums)), by.multiplier);
  y = _mm512_maskz_min_ps(all, y, by.high);
  if constexpr (Residual) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    y = _mm512_maskz_roundscale_ps(all, _mm512_maskz_max_ps(all, y, by.low), nearest);
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(z));
    const __m512i wide = signed_z ? _mm512_maskz_cvtepi8_epi32(all, bytes) : _mm512_maskz_cvtepu8_epi32(all, bytes);
    const __m512 theirs = _mm512_maskz_cvtepi32_ps(all, _mm512_maskz_sub_epi32(all, wide, by.zero_z));
    y = _mm512_maskz_add_ps(all, _mm512_maskz_mul_ps(all, y, by.ratio), _mm512_maskz_mul_ps(all, theirs, by.ratio_z));
    y = _mm512_maskz_min_ps(all, y, by.high_z);
  }
  return _mm512_maskz_cvtps_epi32(all, y);
}

// Sums of `Vectors` vectors, one to four, to bytes in their order.
template <bool Residual, int Vectors>
inline __m512i quantize_bytes(const RowScale& by, const int32_t* sums, const uint8_t* z, bool signed_z) {
  __m512i q[quarters] = {};
  SPARSE_EXPORT_UNROLL(4)
  for (int i = 0; i < Vectors; ++i) {
    q[i] = quantize<Residual>(by, sums + i * lanes, z + i * lanes, signed_z);
  }
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), by.zero);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), by.zero);
  // Packed within quarters of the vectors: four bytes of each of the four.
  const __m512i places = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_maskz_permutexvar_epi32(0xFFFF, places, _mm512_packus_epi16(low, high));
}

// All vectors of a row; `bytes` and `z` have room for whole vectors of bytes.
template <bool Residual>
inline void quantize_row(const Requantization& out, int64_t row, const int32_t* sums, int64_t vectors, const uint8_t* z,
                         uint8_t* bytes) {
  const RowScale by = row_scale(out, row);
  int64_t i = 0;
  const auto put = [&](__m512i v) { _mm512_storeu_si512(bytes + i * lanes, v); };
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
template <bool Residual>
inline void quantize_row(const Requantization&, int64_t, const int32_t*, int64_t, const uint8_t*, uint8_t*) {}
#endif

// The bytes of one row, from its sums (with their bias): the pixels of `tile`, in Y from `row_at` on, `image_pitch`
// between images.
template <bool Residual>
inline void finish_runs(const Call& call, const f32_csr::Tile& tile, int64_t row, int64_t row_at, int64_t image_pitch,
                        const int32_t* sums) {
  constexpr int64_t whole = quarters * lanes;
  alignas(vector_bytes) uint8_t bytes[max_tile * lanes + whole];
  alignas(vector_bytes) uint8_t z[max_tile * lanes + whole];
  const auto place = [&](const f32_csr::Run& run) { return run.image * image_pitch + row_at + run.pixel; };
  auto* const y = static_cast<uint8_t*>(call.y);
  // Of one run, what fills registers goes straight to its place.
  const int64_t straight = tile.runs == 1 ? tile.run[0].length / whole * whole : 0;
  if (straight != 0) {
    const int64_t at = place(tile.run[0]);
    quantize_row<Residual>(call.out, row, sums, straight / lanes, call.z + at, y + at);
    if (straight == tile.run[0].length) {
      return;
    }
  }
  const auto each_rest = [&](auto&& visit) {
    for (int64_t n = 0; n < tile.runs; ++n) {
      visit(place(tile.run[n]) + straight, tile.run[n].position, tile.run[n].length - straight);
    }
  };
  if constexpr (Residual) {
    each_rest([&](int64_t at, int64_t position, int64_t length) { copy_bytes(call.z + at, z + position, length); });
  }
  quantize_row<Residual>(call.out, row, sums + straight, tile.vectors - straight / lanes, z, bytes);
  each_rest([&](int64_t at, int64_t position, int64_t length) { copy_bytes(bytes + position, y + at, length); });
}

}  // namespace
}  // namespace sparse_export::s8_csr
