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
  SPARSE_EXPORT_UNROLL(16)
  for (int i = 0; i < T; ++i) {
    sum[i] = add(sum[i], load_pixels(from + i * vector_bytes), four);
  }
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

// sums (+)= sum over groups of weights * input[offset ...]. Few vectors need several sets of accumulators, ten or more
// in all, to hide the latency of the dot product.
template <int T>
inline __attribute__((always_inline)) void accumulate(const char* input, const uint32_t* offsets,
                                                      const uint32_t* weights, int64_t groups, int32_t* sums,
                                                      bool fresh) {
  constexpr int sets = T >= 10 ? 1 : T >= 5 ? 2 : T >= 3 ? 4 : 8;
  constexpr int step = sets > 4 ? sets : 4;
  IndexVec sum[sets][T] = {};
  if (!fresh) {
    SPARSE_EXPORT_UNROLL(16)
    for (int i = 0; i < T; ++i) {
      sum[0][i] = load_pixels(reinterpret_cast<const char*>(sums + i * lanes));
    }
  }
  int64_t group = 0;
  for (; group + step <= groups; group += step) {
    SPARSE_EXPORT_UNROLL(8)
    for (int at = 0; at < step; at += 2) {
      const TwoInputs from = two_inputs(input, offsets + group + at);
      add_group<T>(sum[at % sets], from.first, weights + group + at);
      add_group<T>(sum[(at + 1) % sets], from.second, weights + group + at + 1);
    }
  }
  for (; group < groups; ++group) {
    add_group<T>(sum[0], input + offsets[group], weights + group);
  }
  SPARSE_EXPORT_UNROLL(8)
  for (int set = 1; set < sets; ++set) {
    SPARSE_EXPORT_UNROLL(16)
    for (int i = 0; i < T; ++i) {
      sum[0][i] = add_modulo(sum[0][i], sum[set][i]);
    }
  }
  SPARSE_EXPORT_UNROLL(16)
  for (int i = 0; i < T; ++i) {
    store_sums(sums + i * lanes, sum[0][i]);
  }
}

// One row over one block of columns.
using AddGroups = void (*)(const char* input, const uint32_t* offsets, const uint32_t* weights, int64_t groups,
                           int32_t* sums, bool fresh);

template <int T>
void add_groups(const char* input, const uint32_t* offsets, const uint32_t* weights, int64_t groups, int32_t* sums,
                bool fresh) {
  accumulate<T>(input, offsets, weights, groups, sums, fresh);
}

template <int... T>
AddGroups add_groups_table(int64_t vectors, std::integer_sequence<int, T...>) {
  static constexpr AddGroups table[] = {add_groups<T + 1>...};
  return table[vectors - 1];
}

// The loop for tiles of this many vectors.
inline AddGroups add_groups_of(int64_t vectors) {
  return add_groups_table(vectors, std::make_integer_sequence<int, max_tile>());
}

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
