// Four channels side by side: a pixel of them has the size of one float, and one instruction multiplies them.
#pragma once

#include <cstring>

#include "call.h"
#include "core/simd.h"
#include "kernels/f32_csr/arrange.h"

namespace sparse_export::s8_csr {
namespace {

typedef uint8_t Bytes __attribute__((vector_size(16)));
constexpr int64_t pixels_at_once = 16;

inline Bytes load_bytes(const uint8_t* p) {
  Bytes bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return bytes;
}

// Planes of the channels of one group; channels that the layer lacks repeat the first, their weights are zero.
struct FourPlanes {
  const uint8_t* plane[group_channels];
  const uint8_t* end;  // of X: nothing behind it is read
};

inline FourPlanes four_planes(const Call& call, int64_t image, int64_t group, int64_t quad) {
  const ConvGeometry& g = call.geometry;
  const int64_t area = call.size.input[0] * call.size.input[1];
  const int64_t first = image * g.channels + group * g.channels_per_group() + quad * group_channels;
  FourPlanes planes;
  for (int64_t i = 0; i < group_channels; ++i) {
    const bool present = quad * group_channels + i < g.channels_per_group();
    planes.plane[i] = call.x + (first + (present ? i : 0)) * area;
  }
  planes.end = call.x + call.size.batch * g.channels * area;
  return planes;
}

// 16 bytes from p, or as many as there are.
inline Bytes load_before(const uint8_t* p, const uint8_t* end) {
  if (end - p >= pixels_at_once) {
    return load_bytes(p);
  }
  uint8_t bytes[pixels_at_once] = {};
  std::memcpy(bytes, p, p < end ? static_cast<size_t>(end - p) : 0);
  return load_bytes(bytes);
}

// The even ones of 32 bytes.
inline Bytes load_even(const uint8_t* p, const uint8_t* end) {
  return __builtin_shufflevector(load_before(p, end), load_before(p + pixels_at_once, end), 0, 2, 4, 6, 8, 10, 12, 14,
                                 16, 18, 20, 22, 24, 26, 28, 30);
}

template <int Stride>
inline Bytes load_pixels(const uint8_t* p, const uint8_t* end) {
  return Stride == 2 ? load_even(p, end) : load_before(p, end);
}

#if defined(__AVX512BW__)
// 64 bytes from p, or as many as there are.
inline __m512i load_many(const uint8_t* p, const uint8_t* end) {
  const int64_t left = end - p;
  const __mmask64 inside = left >= 64 ? ~__mmask64{0} : left <= 0 ? 0 : (__mmask64{1} << left) - 1;
  return _mm512_maskz_loadu_epi8(inside, p);
}

template <int Stride>
inline __m512i load_many_pixels(const uint8_t* p, const uint8_t* end) {
  if constexpr (Stride == 1) {
    return load_many(p, end);
  }
  constexpr __mmask32 all = 0xFFFFFFFF;
  const __m256i low = _mm512_maskz_cvtepi16_epi8(all, load_many(p, end));  // the even ones
  const __m256i high = _mm512_maskz_cvtepi16_epi8(all, load_many(p + 64, end));
  return _mm512_maskz_inserti64x4(0xFF, _mm512_castsi256_si512(low), high, 1);
}

// As `interleave_pixels`, 64 pixels, the first `count` of them: whole vectors are written.
template <int Stride>
inline void interleave_many(const FourPlanes& from, int64_t at, int64_t count, uint8_t flip, uint8_t* out) {
  const __m512i flips = _mm512_set1_epi8(static_cast<char>(flip));
  const auto load = [&](int plane) {
    return _mm512_maskz_xor_epi32(0xFFFF, load_many_pixels<Stride>(from.plane[plane] + at, from.end), flips);
  };
  const __m512i a = load(0), b = load(1), c = load(2), d = load(3);
  const __m512i low_ab = _mm512_unpacklo_epi8(a, b), high_ab = _mm512_unpackhi_epi8(a, b);
  const __m512i low_cd = _mm512_unpacklo_epi8(c, d), high_cd = _mm512_unpackhi_epi8(c, d);
  // Of every quarter: pixels 0 to 3, 4 to 7, 8 to 11, 12 to 15.
  const __m512i p0 = _mm512_unpacklo_epi16(low_ab, low_cd), p1 = _mm512_unpackhi_epi16(low_ab, low_cd);
  const __m512i p2 = _mm512_unpacklo_epi16(high_ab, high_cd), p3 = _mm512_unpackhi_epi16(high_ab, high_cd);
  constexpr __mmask8 all = 0xFF;
  const __m512i first_01 = _mm512_maskz_shuffle_i64x2(all, p0, p1, 0x44);
  const __m512i first_23 = _mm512_maskz_shuffle_i64x2(all, p2, p3, 0x44);
  const __m512i last_01 = _mm512_maskz_shuffle_i64x2(all, p0, p1, 0xEE);
  const __m512i last_23 = _mm512_maskz_shuffle_i64x2(all, p2, p3, 0xEE);
  const auto put = [&](int64_t place, __m512i pixels) {
    if (place < count) {
      _mm512_storeu_si512(out + place * group_channels, pixels);
    }
  };
  put(0, _mm512_maskz_shuffle_i64x2(all, first_01, first_23, 0x88));
  put(16, _mm512_maskz_shuffle_i64x2(all, first_01, first_23, 0xDD));
  put(32, _mm512_maskz_shuffle_i64x2(all, last_01, last_23, 0x88));
  put(48, _mm512_maskz_shuffle_i64x2(all, last_01, last_23, 0xDD));
}
#endif

// Pixels [offset + i * stride] of four planes to out[4 i ...], i in [0, count). Writes whole vectors: up to 15 pixels
// too many.
template <int Stride>
inline void interleave_pixels(const FourPlanes& from, int64_t offset, int64_t count, uint8_t flip, uint8_t* out) {
  const Bytes flips = Bytes{} + flip;
  int64_t i = 0;
#if defined(__AVX512BW__)
  for (; i + pixels_at_once < count; i += 64, out += 64 * group_channels) {
    interleave_many<Stride>(from, offset + i * Stride, count - i, flip, out);
  }
#endif
  for (; i < count; i += pixels_at_once, out += 4 * pixels_at_once) {
    const int64_t at = offset + i * Stride;
    const Bytes a = load_pixels<Stride>(from.plane[0] + at, from.end) ^ flips;
    const Bytes b = load_pixels<Stride>(from.plane[1] + at, from.end) ^ flips;
    const Bytes c = load_pixels<Stride>(from.plane[2] + at, from.end) ^ flips;
    const Bytes d = load_pixels<Stride>(from.plane[3] + at, from.end) ^ flips;
    const Bytes low_ab = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const Bytes high_ab = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const Bytes low_cd = __builtin_shufflevector(c, d, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const Bytes high_cd = __builtin_shufflevector(c, d, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const auto put = [&](int64_t place, Bytes pairs, Bytes others, bool high) {
      const Bytes low_half =
          __builtin_shufflevector(pairs, others, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23);
      const Bytes high_half =
          __builtin_shufflevector(pairs, others, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31);
      std::memcpy(out + place, high ? &high_half : &low_half, sizeof(Bytes));
    };
    put(0, low_ab, low_cd, false);
    put(16, low_ab, low_cd, true);
    put(32, high_ab, high_cd, false);
    put(48, high_ab, high_cd, true);
  }
}

inline void interleave_strided(const FourPlanes& from, int64_t offset, int64_t count, int64_t stride, uint8_t flip,
                               uint8_t* out) {
  if (stride == 1) {
    return interleave_pixels<1>(from, offset, count, flip, out);
  }
  if (stride == 2) {
    return interleave_pixels<2>(from, offset, count, flip, out);
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t lane = 0; lane < group_channels; ++lane) {
      out[i * group_channels + lane] = from.plane[lane][offset + i * stride] ^ flip;
    }
  }
}

inline void fill_pixels(uint8_t* out, int64_t count, uint8_t zero) {
  std::memset(out, zero, static_cast<size_t>(count * group_channels));
}

// One padded image of one group of channels; `out` has room for a vector behind its last row.
inline void interleave_padded(const Call& call, const FourPlanes& from, const ConvSize& padded, uint8_t* out) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0], width = call.size.input[1], pitch = padded.input[1];
  const int64_t rows = smaller(padded.input[0], g.begin[0] + height + g.end[0]);
  const int64_t right = pitch - g.begin[1] - width;
  fill_pixels(out, g.begin[0] * pitch + g.begin[1], call.zero);
  uint8_t* to = out + g.begin[0] * pitch * group_channels;
  for (int64_t y = 0; y < height; ++y, to += pitch * group_channels) {
    uint8_t* pixels = to + g.begin[1] * group_channels;
    interleave_pixels<1>(from, y * width, width, call.flip, pixels);
    // What was written too much is padding, of this row and of the next.
    fill_pixels(pixels + width * group_channels, right + g.begin[1], call.zero);
  }
  fill_pixels(to, (rows - g.begin[0] - height) * pitch, call.zero);
}

// Pixels of 1 x 1 windows of one group of channels, all images one after the other.
inline void interleave_flat(const Call& call, int64_t group, int64_t quad, uint8_t* out) {
  const int64_t width = call.size.output[1], stride = call.geometry.strides[1];
  const bool whole = stride * call.geometry.strides[0] == 1;
  for (int64_t image = 0; image < call.size.batch; ++image) {
    const FourPlanes from = four_planes(call, image, group, quad);
    const int64_t rows = whole ? 1 : call.size.output[0];
    const int64_t length = whole ? call.size.output[0] * width : width;
    for (int64_t y = 0; y < rows; ++y, out += length * group_channels) {
      interleave_strided(from, y * call.geometry.strides[0] * call.size.input[1], length, stride, call.flip, out);
    }
  }
}

// The pixels of a tile of 1 x 1 windows without strides, of groups [first, first + count) of channels, `pitch` bytes
// apart; `out` has room for a vector behind the last.
inline void interleave_tile(const Call& call, const f32_csr::Tile& tile, int64_t group, int64_t first, int64_t count,
                            int64_t pitch, uint8_t* out) {
  for (int64_t quad = first; quad < first + count; ++quad, out += pitch) {
    for (int64_t n = 0; n < tile.runs; ++n) {
      const f32_csr::Run& run = tile.run[n];
      const FourPlanes from = four_planes(call, run.image, group, quad);
      interleave_pixels<1>(from, run.pixel, run.length, call.flip, out + run.position * group_channels);
    }
  }
}

// Rows [first, last) of a matrix to columns of four: out[group of channels][row], `pitch` rows apart.
inline void transpose_rows(const Call& call, int64_t first, int64_t last, int64_t pitch, uint8_t* out) {
  const int64_t channels = call.geometry.channels;
  const uint32_t flips = call.flip * 0x01010101U;
  for (int64_t row = first; row < last; ++row) {
    const uint8_t* from = call.x + row * channels;
    for (int64_t c = 0; c < channels; c += group_channels) {
      uint32_t four = 0;
      std::memcpy(&four, from + c, static_cast<size_t>(smaller(group_channels, channels - c)));
      four ^= flips;
      std::memcpy(out + (c / group_channels * pitch + row) * group_channels, &four, sizeof four);
    }
  }
}

}  // namespace
}  // namespace sparse_export::s8_csr
