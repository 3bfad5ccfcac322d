// From gaps to byte offsets of taps: done once per chunk of rows, used for every tile.
#pragma once

#include <cstring>
#include <utility>

#include "call.h"
#include "core/simd.h"

namespace sparse_export::f32_csr {
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
  return __builtin_shufflevector(v, IndexVec{}, (I < Step ? static_cast<int>(lanes) : I - Step)...);
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
    return reinterpret_cast<IndexVec>(
        _mm512_maskz_cvtepu8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(gaps))));
  }
  if constexpr (sizeof(Gap) == 2) {
    return reinterpret_cast<IndexVec>(
        _mm512_maskz_cvtepu16_epi32(0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(gaps))));
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(Gap) == 1) {
    return reinterpret_cast<IndexVec>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(gaps))));
  }
#elif defined(SPARSE_EXPORT_NEON)
  if constexpr (sizeof(Gap) == 1) {
    uint32_t four;
    std::memcpy(&four, gaps, sizeof four);
    const uint16x8_t wide = vmovl_u8(vcreate_u8(four));
    return reinterpret_cast<IndexVec>(vmovl_u16(vget_low_u16(wide)));
  }
  if constexpr (sizeof(Gap) == 2) {
    return reinterpret_cast<IndexVec>(vmovl_u16(vld1_u16(reinterpret_cast<const uint16_t*>(gaps))));
  }
#endif
  IndexVec v{};
  for (int64_t i = 0; i < lanes; ++i) {
    v[i] = static_cast<int32_t>(gaps[i]);
  }
  return v;
}

// Columns of one row's entries, the first of which follows column `before`. Columns are below 2^31: `check_weights`.
template <class Gap>
inline void decode_columns(const Gap* gaps, int64_t count, uint32_t* columns, int32_t before = -1) {
  IndexVec base = IndexVec{} + before;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const IndexVec v = prefix_sum(widen(gaps + i) + 1) + base;
    store_index(columns + i, v);
    base = last_lane(v);
  }
  auto column = static_cast<uint32_t>(base[0]);
  for (; i < count; ++i) {
    column += 1U + static_cast<uint32_t>(gaps[i]);
    columns[i] = column;
  }
}

// How far ahead weights are fetched while rows are decoded: in a net they come from beyond the L2 cache.
constexpr int64_t entries_ahead = 1024;

// Where the taps of one call lie. An offset is column * `scale`, or, by channel, what a channel and a position of the
// window add up to; `table` says the same for every column.
struct TapPlaces {
  int64_t columns, block_columns, blocks;
  uint32_t scale;  // 0: by channel
  int64_t window;  // positions of a channel
  int64_t channel_bytes;
  const uint32_t* table;  // by channel: of each column
};

#if defined(__AVX512F__)

// The gaps of the mask, zero elsewhere; nothing else is read.
inline __m512i load_gaps(const uint8_t* gaps, __mmask16 mask) {
  return _mm512_maskz_cvtepu8_epi32(mask, _mm_maskz_loadu_epi8(mask, gaps));
}
inline __m512i load_gaps(const uint16_t* gaps, __mmask16 mask) {
  return _mm512_maskz_cvtepu16_epi32(mask, _mm256_maskz_loadu_epi16(mask, gaps));
}
inline __m512i load_gaps(const uint32_t* gaps, __mmask16 mask) { return _mm512_maskz_loadu_epi32(mask, gaps); }

// Quotients of 16 columns by one divisor, exact below `limit`: (column + 1/2) / divisor lies at least 1/2/divisor from
// a whole number, and the two roundings of a quotient below 2^20 / divisor stay under an eighth of that.
class Divider {
 public:
  static constexpr int64_t limit = 1 << 20;

  explicit Divider(int64_t divisor)
      : inverse_(_mm512_set1_ps(1.0F / static_cast<float>(divisor))),
        half_(_mm512_set1_ps(0.5F / static_cast<float>(divisor))) {}

  __m512i divide(__m512i column) const {
    return _mm512_maskz_cvttps_epi32(0xFFFF, _mm512_fmadd_ps(_mm512_cvtepi32_ps(column), inverse_, half_));
  }

 private:
  __m512 inverse_, half_;
};

// Offsets and block boundaries without a branch that depends on the weights: those are never predicted.
class RowDecoder {
 public:
  static bool serves(const TapPlaces& places) { return places.columns <= Divider::limit; }

  explicit RowDecoder(const TapPlaces& places)
      : places_(places), by_block_(places.block_columns), by_window_(places.window) {
    const bool small = places.scale == 0 && places.window <= 2 * lanes;
    kind_ = places.scale != 0 ? Kind::scaled : small ? Kind::window : Kind::table;
    if (small) {
      const auto first = lane_mask(0, places.window);
      const auto second = lane_mask(0, larger(0, places.window - lanes));
      low_ = _mm512_maskz_loadu_epi32(first, places.table);
      high_ = _mm512_maskz_loadu_epi32(second, places.table + lanes);
    }
  }

  // As `decode_row`. Both outputs, and `ids` [blocks], have room for a vector behind their end.
  template <class Gap>
  void decode(const Gap* gaps, int64_t count, uint32_t first, uint32_t* offsets, uint32_t* cut, uint32_t* ids) const {
    // Boundaries that come once in a few vectors are found by a branch, frequent ones without.
    const bool many = places_.blocks * lanes * 3 > count;
    switch (kind_) {
      case Kind::scaled:
        return decode_as<Kind::scaled>(many, gaps, count, first, offsets, cut, ids);
      case Kind::window:
        return decode_as<Kind::window>(many, gaps, count, first, offsets, cut, ids);
      default:
        return decode_as<Kind::table>(many, gaps, count, first, offsets, cut, ids);
    }
  }

 private:
  enum class Kind { scaled, window, table };

  template <Kind K>
  __m512i offset(__m512i column) const {
    if constexpr (K == Kind::scaled) {
      return _mm512_mullo_epi32(column, splat(places_.scale));
    } else if constexpr (K == Kind::window) {
      const __m512i channel = by_window_.divide(column);
      const __m512i window = splat(places_.window);
      const __m512i position = _mm512_sub_epi32(column, _mm512_mullo_epi32(channel, window));
      const __m512i bytes = splat(places_.channel_bytes);
      return _mm512_add_epi32(_mm512_mullo_epi32(channel, bytes), _mm512_permutex2var_epi32(low_, position, high_));
    } else {
      // Lanes behind the row's end may be any number: they read the last column.
      const __m512i last = splat(places_.columns - 1);
      return _mm512_mask_i32gather_epi32(last, 0xFFFF, _mm512_maskz_min_epu32(0xFFFF, column, last), places_.table, 4);
    }
  }

  template <Kind K, class Gap>
  void decode_as(bool many, const Gap* gaps, int64_t count, uint32_t first, uint32_t* offsets, uint32_t* cut,
                 uint32_t* ids) const {
    if (many) {
      decode_with<K, true>(gaps, count, first, offsets, cut, ids);
    } else {
      decode_with<K, false>(gaps, count, first, offsets, cut, ids);
    }
  }

  template <Kind K, bool Many, class Gap>
  void decode_with(const Gap* gaps, int64_t count, uint32_t first, uint32_t* offsets, uint32_t* cut,
                   uint32_t* ids) const {
    const __m512i last_lane = splat(lanes - 1);
    __m512i base = splat(-1);
    __m512i id_before = splat(-1);
    __m512i place = _mm512_add_epi32(reinterpret_cast<__m512i>(lane_numbers()), splat(first));
    int64_t found = 0;  // boundaries
    int64_t limit = places_.block_columns;
    const auto take = [&](int64_t i, __m512i steps, __mmask16 valid) {
      const __m512i column =
          _mm512_add_epi32(reinterpret_cast<__m512i>(prefix_sum(reinterpret_cast<IndexVec>(steps))), base);
      base = _mm512_maskz_permutexvar_epi32(0xFFFF, last_lane, column);
      _mm512_storeu_si512(offsets + i, offset<K>(column));
      if constexpr (Many) {
        const __m512i id = by_block_.divide(column);
        const __m512i neighbour = _mm512_maskz_alignr_epi32(0xFFFF, id, id_before, lanes - 1);
        const __mmask16 begins = _mm512_mask_cmpneq_epi32_mask(valid, id, neighbour);
        _mm512_storeu_si512(cut + found, _mm512_maskz_compress_epi32(begins, place));
        _mm512_storeu_si512(ids + found, _mm512_maskz_compress_epi32(begins, id));
        found += __builtin_popcount(begins);
        id_before = id;
        place = _mm512_add_epi32(place, splat(lanes));
      } else {
        for (__mmask16 above; (above = _mm512_mask_cmpge_epi32_mask(valid, column, splat(limit))) != 0;) {
          cut[++found] = first + static_cast<uint32_t>(i + __builtin_ctz(above));
          limit += places_.block_columns;
        }
      }
    };
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      __builtin_prefetch(gaps + i + entries_ahead);  // the hardware does not do so for every kind of load
      take(i, reinterpret_cast<__m512i>(widen(gaps + i) + 1), 0xFFFF);
    }
    if (i < count) {
      const __mmask16 valid = lane_mask(0, count - i);
      take(i, _mm512_add_epi32(load_gaps(gaps + i, valid), splat(1)), valid);
    }
    cut[places_.blocks] = first + static_cast<uint32_t>(count);
    if constexpr (Many) {
      for (int64_t block = places_.blocks - 1; block >= 0 && found <= block; --block) {
        // Fewer boundaries than blocks: those without a tap begin where the next does.
        const bool here = found > 0 && ids[found - 1] == static_cast<uint32_t>(block);
        cut[block] = here ? cut[--found] : cut[block + 1];
      }
    } else {
      cut[0] = first;
      while (++found < places_.blocks) {
        cut[found] = first + static_cast<uint32_t>(count);
      }
    }
  }

  static __m512i splat(int64_t value) { return _mm512_set1_epi32(static_cast<int32_t>(value)); }

  const TapPlaces& places_;
  Divider by_block_, by_window_;
  Kind kind_;
  __m512i low_{}, high_{};
};

#endif

#if defined(__AVX2__) && !defined(__AVX512F__)
// How far each of eight taps lies behind the one before the first.
template <class Gap>
inline IndexVec distances(const Gap* gaps) {
  if constexpr (sizeof(Gap) == 1) {  // their sum fits 16 bits, and eight of these one half, in which bytes move faster
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(gaps));
    __m128i sum = _mm_add_epi16(_mm_cvtepu8_epi16(bytes), _mm_set1_epi16(1));
    sum = _mm_add_epi16(sum, _mm_slli_si128(sum, 2));
    sum = _mm_add_epi16(sum, _mm_slli_si128(sum, 4));
    sum = _mm_add_epi16(sum, _mm_slli_si128(sum, 8));
    return reinterpret_cast<IndexVec>(_mm256_cvtepu16_epi32(sum));
  }
  return prefix_sum(widen(gaps) + 1);
}

// `decode_row`, eight taps at a time: a vector of columns says by itself whether a block begins in it.
template <class Gap>
inline void decode_row_by_eights(const TapPlaces& places, const Gap* gaps, int64_t count, uint32_t first,
                                 uint32_t* offsets, uint32_t* cut) {
  int64_t block = 0, limit = 0;
  // The blocks that begin among these columns.
  const auto cut_before = [&](IndexVec columns, int64_t i) {
    for (; block < places.blocks; limit += places.block_columns) {
      const IndexVec above = columns >= static_cast<int32_t>(limit);
      const int lanes_above = _mm256_movemask_ps(reinterpret_cast<__m256>(above));
      if (lanes_above == 0) {
        return;
      }
      cut[block++] = first + static_cast<uint32_t>(i + __builtin_ctz(static_cast<unsigned>(lanes_above)));
    }
  };
  const auto scaled = [&](IndexVec columns) {
    return reinterpret_cast<IndexVec>(reinterpret_cast<UnsignedVec>(columns) * places.scale);
  };
  IndexVec base = IndexVec{} - 1;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const IndexVec steps = distances(gaps + i), columns = base + steps;
    base += last_lane(steps);
    __builtin_prefetch(gaps + i + entries_ahead);
    cut_before(columns, i);
    store_index(offsets + i, places.scale != 0 ? scaled(columns) : columns);
  }
  auto column = static_cast<uint32_t>(base[0]);
  for (; i < count; ++i) {
    column += 1U + static_cast<uint32_t>(gaps[i]);
    for (; block < places.blocks && column >= static_cast<uint64_t>(limit); limit += places.block_columns) {
      cut[block++] = first + static_cast<uint32_t>(i);
    }
    offsets[i] = places.scale != 0 ? column * places.scale : column;
  }
  while (block <= places.blocks) {
    cut[block++] = first + static_cast<uint32_t>(count);
  }
  if (places.scale == 0) {
    for (i = 0; i < count; ++i) {
      offsets[i] = places.table[offsets[i]];
    }
  }
}

#endif

// One row's offsets. cut[b] becomes `first` plus the number of taps in the blocks before b, for b in [0, blocks].
template <class Gap>
inline void decode_row(const TapPlaces& places, const Gap* gaps, int64_t count, uint32_t first, uint32_t* offsets,
                       uint32_t* cut) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  if (places.columns + places.block_columns <= INT32_MAX) {
    return decode_row_by_eights(places, gaps, count, first, offsets, cut);
  }
#endif
  decode_columns(gaps, count, offsets);
  int64_t limit = 0;
  int64_t i = 0;
  for (int64_t block = 0; block < places.blocks; ++block, limit += places.block_columns) {
    while (i < count && offsets[i] < static_cast<uint64_t>(limit)) {
      ++i;
    }
    cut[block] = first + static_cast<uint32_t>(i);
  }
  cut[places.blocks] = first + static_cast<uint32_t>(count);
  for (i = 0; i < count; ++i) {
    offsets[i] = places.scale != 0 ? offsets[i] * places.scale : places.table[offsets[i]];
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
#elif defined(SPARSE_EXPORT_NEON)
inline void convert(const Float16* values, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const uint16x4_t bits = vld1_u16(reinterpret_cast<const uint16_t*>(values + i));
    vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(bits)));
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
}  // namespace sparse_export::f32_csr
