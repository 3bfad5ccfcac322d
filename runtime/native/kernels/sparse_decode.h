// From gaps to byte offsets of taps: done once per chunk of rows, used for every tile.
#pragma once

#include <utility>

#include "simd.h"
#include "sparse.h"

namespace sparse_export {
namespace {

inline IndexVec load_index(const uint32_t* p) {
  typedef int32_t Unaligned __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
  return *reinterpret_cast<const Unaligned*>(p);
}

inline void store_index(uint32_t* p, IndexVec v) {
  typedef int32_t Unaligned __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
  *reinterpret_cast<Unaligned*>(p) = v;
}

// The lanes moved up by Step, zeros moved in.
template <int Step, int... I>
inline IndexVec move_up(IndexVec v, std::integer_sequence<int, I...>) {
  return __builtin_shuffle(v, IndexVec{}, IndexVec{(I < Step ? static_cast<int>(lanes) : I - Step)...});
}

// Running sums within one vector.
template <int Step = 1>
inline IndexVec prefix_sum(IndexVec v) {
  if constexpr (Step < lanes) {
    return prefix_sum<Step * 2>(v + move_up<Step>(v, std::make_integer_sequence<int, lanes>()));
  } else {
    return v;
  }
}

template <class Gap>
inline IndexVec widen(const Gap* gaps) {
#if defined(__AVX512F__)
  if constexpr (sizeof(Gap) == 1) {
    return reinterpret_cast<IndexVec>(_mm512_maskz_cvtepu8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(gaps))));
  }
  if constexpr (sizeof(Gap) == 2) {
    return reinterpret_cast<IndexVec>(_mm512_maskz_cvtepu16_epi32(0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(gaps))));
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(Gap) == 1) {
    return reinterpret_cast<IndexVec>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(gaps))));
  }
#endif
  IndexVec v{};
  for (int64_t i = 0; i < lanes; ++i) {
    v[i] = static_cast<int32_t>(gaps[i]);
  }
  return v;
}

// Columns of one row's entries, the first of which follows column `before`. Columns are below 2^31: `check_csr`.
template <class Gap>
inline void decode_columns(const Gap* gaps, int64_t count, uint32_t* columns, int32_t before = -1) {
  const IndexVec last = IndexVec{} + static_cast<int32_t>(lanes - 1);
  IndexVec base = IndexVec{} + before;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const IndexVec v = prefix_sum(widen(gaps + i) + 1) + base;
    store_index(columns + i, v);
    base = __builtin_shuffle(v, last);
  }
  auto column = static_cast<uint32_t>(base[0]);
  for (; i < count; ++i) {
    column += 1U + static_cast<uint32_t>(gaps[i]);
    columns[i] = column;
  }
}

// indices[i] = table[indices[i]].
inline void look_up(const uint32_t* table, uint32_t* indices, int64_t count) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + lanes <= count; i += lanes) {
    const __m512i at = _mm512_loadu_si512(indices + i);
    _mm512_storeu_si512(indices + i, _mm512_mask_i32gather_epi32(at, 0xFFFF, at, table, 4));
  }
#endif
  for (; i < count; ++i) {
    indices[i] = table[indices[i]];
  }
}

// One row's offsets: column * `scale`. cut[b] becomes `first` plus the number of offsets below b * `step`, for b in
// [0, blocks]; neither an offset nor blocks * step passes 2^32.
template <class Gap>
inline void decode_row(const Gap* gaps, int64_t count, uint32_t scale, uint32_t step, int64_t blocks, uint32_t first,
                       uint32_t* offsets, uint32_t* cut) {
  const IndexVec last = IndexVec{} + static_cast<int32_t>(lanes - 1);
  const IndexVec factor = IndexVec{} + static_cast<int32_t>(scale);
  IndexVec base = -factor;
  const uint32_t* const end = cut + blocks;
  *cut++ = first;
  uint32_t limit = step;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const IndexVec v = prefix_sum((widen(gaps + i) + 1) * factor) + base;
    base = __builtin_shuffle(v, last);
    store_index(offsets + i, v);
#if defined(__AVX512F__)
    const auto columns = reinterpret_cast<__m512i>(v);
    __mmask16 above = _mm512_cmpge_epu32_mask(columns, _mm512_set1_epi32(static_cast<int32_t>(limit)));
    while (above != 0 && cut < end) {
      *cut++ = first + static_cast<uint32_t>(i + __builtin_ctz(above));
      limit += step;
      above = _mm512_cmpge_epu32_mask(columns, _mm512_set1_epi32(static_cast<int32_t>(limit)));
    }
#else
    for (int64_t lane = 0; offsets[i + lanes - 1] >= limit && cut < end; lane += offsets[i + lane] < limit ? 1 : 0) {
      if (offsets[i + lane] >= limit) {
        *cut++ = first + static_cast<uint32_t>(i + lane);
        limit += step;
      }
    }
#endif
  }
  auto offset = static_cast<uint32_t>(base[0]);
  for (; i < count; ++i) {
    offset += (1U + static_cast<uint32_t>(gaps[i])) * scale;
    offsets[i] = offset;
    for (; offset >= limit && cut < end; limit += step) {
      *cut++ = first + static_cast<uint32_t>(i);
    }
  }
  while (cut <= end) {
    *cut++ = first + static_cast<uint32_t>(count);
  }
}

inline void convert(const float*, int64_t, float*) {}  // read in place

#if defined(__AVX2__)
inline void convert(const Float16* values, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values + i))));
  }
  for (; i < count; ++i) {
    out[i] = static_cast<float>(values[i]);
  }
}
#endif

template <class Value>
void convert(const Value* values, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<float>(values[i]);
  }
}

}  // namespace
}  // namespace sparse_export
