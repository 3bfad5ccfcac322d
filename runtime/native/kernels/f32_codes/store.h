// From sums to the output. Internal linkage.
#pragma once

#include "call.h"
#include "core/epilogue_vector.h"

namespace sparse_export::f32_codes {
namespace {

// One value at a time: sum(row, pixel) of a part.
template <class Sum>
void finish_part(const Call& call, const Cut& cut, const Part& part, Sum&& sum) {
  const int64_t first = part.group * cut.rows + part.row;
  if (call.matrix) {
    for (int64_t p = 0; p < part.pixels; ++p) {
      const int64_t at = (part.pixel + p) * call.weights.rows + first;
      for (int64_t i = 0; i < part.rows; ++i) {
        call.y[at + i] = finish(call.epilogue, first + i, sum(i, p), at + i);
      }
    }
    return;
  }
  for (int64_t i = 0; i < part.rows; ++i) {
    const int64_t at = (part.image * call.weights.rows + first + i) * cut.pixels + part.pixel;
    for (int64_t p = 0; p < part.pixels; ++p) {
      call.y[at + p] = finish(call.epilogue, first + i, sum(i, p), at + p);
    }
  }
}

// Sums [pixel][row] of a matrix product.
inline void store_matrix(const Call& call, const Part& part, int64_t pitch, const float* sum) {
  const ActivationVec activation = spread(call.epilogue.activation);
  for (int64_t p = 0; p < part.pixels; ++p) {
    float* y = call.y + (part.pixel + p) * call.weights.rows + part.row;
    for (int64_t k = 0; k < part.rows; k += lanes) {
      const LaneMask mask = lane_mask(0, part.rows - k);
      const Vec scale = load_masked(call.epilogue.scale + part.row + k, mask);
      const Vec bias = load_masked(call.epilogue.bias + part.row + k, mask);
      const Vec y_k = finish(load(sum + p * pitch + k), scale, bias, nullptr, lanes, activation);
      store_lanes(y + k, y_k, part.rows - k);
    }
  }
}

#if defined(__AVX512F__)
// r[i][j] <-> r[j][i] of a 16 x 16 matrix of 32-bit lanes.
inline void transpose(__m512i (&r)[16]) {
  __m512i t[16];
  SPARSE_EXPORT_UNROLL(16)
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  SPARSE_EXPORT_UNROLL(16)
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  SPARSE_EXPORT_UNROLL(16)
  for (int i = 0; i < 16; i += 8) {
    SPARSE_EXPORT_UNROLL(4)
    for (int j = 0; j < 4; ++j) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
    }
  }
  SPARSE_EXPORT_UNROLL(8)
  for (int j = 0; j < 8; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
  }
}

// Lanes [0, count) of `out`: row i of a block of pixels x rows, along pixels.
inline void turn(const float* sum, int64_t pitch, int64_t count, Vec (&out)[lanes]) {
  __m512i r[16];
  for (int64_t i = 0; i < 16; ++i) {
    r[i] = i < count ? _mm512_loadu_si512(sum + i * pitch) : _mm512_setzero_si512();
  }
  transpose(r);
  for (int64_t i = 0; i < 16; ++i) {
    out[i] = reinterpret_cast<Vec>(r[i]);
  }
}
#else
inline void turn(const float* sum, int64_t pitch, int64_t count, Vec (&out)[lanes]) {
  for (int64_t i = 0; i < lanes; ++i) {
    for (int64_t p = 0; p < lanes; ++p) {
      out[i][p] = p < count ? sum[p * pitch + i] : 0;
    }
  }
}
#endif

// Sums [pixel][row] of a convolution.
inline void store_image(const Call& call, const Cut& cut, const Part& part, int64_t pitch, const float* sum) {
  const Epilogue& epilogue = call.epilogue;
  const ActivationVec activation = spread(epilogue.activation);
  for (int64_t p = 0; p < part.pixels; p += lanes) {
    for (int64_t k = 0; k < part.rows; k += lanes) {
      Vec rows[lanes];
      turn(sum + p * pitch + k, pitch, part.pixels - p, rows);
      for (int64_t i = 0; i < lanes && k + i < part.rows; ++i) {
        const int64_t row = part.group * cut.rows + part.row + k + i;
        const int64_t at = (part.image * call.weights.rows + row) * cut.pixels + part.pixel + p;
        const float* residual = epilogue.residual == nullptr ? nullptr : epilogue.residual + at;
        const Vec y = finish(rows[i], broadcast(epilogue.scale[row]), broadcast(epilogue.bias[row]), residual,
                             part.pixels - p, activation);
        store_lanes(call.y + at, y, part.pixels - p);
      }
    }
  }
}

}  // namespace
}  // namespace sparse_export::f32_codes
