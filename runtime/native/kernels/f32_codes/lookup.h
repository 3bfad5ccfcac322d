// One look-up of many rows at once: codes of `lanes` rows pick from the sums of one pixel. Internal linkage.
//
// On AVX-512 a register holds all sixteen sums. On AVX2 it holds eight: where the others are their opposites the
// fourth bit of a code is a sign, and otherwise a second register is looked up.
#pragma once

#include "core/simd.h"
#include "weights.h"

namespace sparse_export::f32_codes {
namespace {

#if defined(__AVX512F__)

constexpr int64_t registers_of_group = 1;

template <Kind>
struct Lookup {
  static constexpr int64_t table_bytes = 64;
  typedef __m512i Codes;

  static Codes load(const char* index) { return _mm512_loadu_si512(index); }
  // Eight codes of every lane: the next one comes to the lowest bits, and a permutation looks at those alone.
  static Codes next(Codes codes) { return _mm512_srli_epi32(codes, 4); }
  struct Pick {
    Codes at;
  };
  static Pick pick(Codes codes) { return {codes}; }
  static Vec find(Pick pick, const char* table) {
    return reinterpret_cast<Vec>(_mm512_permutexvar_ps(pick.at, _mm512_load_ps(table)));
  }
  // An addition that takes the ports of multiply-adds, which are others than those of additions.
  static Vec add(Vec a, Vec b) {
    return reinterpret_cast<Vec>(
        _mm512_fmadd_ps(reinterpret_cast<__m512>(b), _mm512_set1_ps(1), reinterpret_cast<__m512>(a)));
  }
};

// The sums of a code's columns, x[c] each.
template <int Span, Kind kind>
class Sums {
 public:
  explicit Sums(const Weights& weights) {
    for (int c = 0; c < Span; ++c) {
      alignas(64) float value[16];
      for (int i = 0; i < 16; ++i) {
        value[i] = weights.value[i][c];
      }
      value_[c] = _mm512_load_ps(value);
      used_[c] = _mm512_cmp_ps_mask(value_[c], _mm512_setzero_ps(), _CMP_NEQ_UQ);
    }
  }

  // A weight that is zero takes no part: 0 x infinity is none.
  void store(const float (&x)[Span], char* to) const {
    __m512 sum = _mm512_maskz_mul_ps(used_[0], value_[0], _mm512_set1_ps(x[0]));
    SPARSE_EXPORT_UNROLL(4)
    for (int c = 1; c < Span; ++c) {
      sum = _mm512_mask3_fmadd_ps(value_[c], _mm512_set1_ps(x[c]), sum, used_[c]);
    }
    _mm512_store_ps(to, sum);
  }

 private:
  __m512 value_[Span];
  __mmask16 used_[Span];
};

#elif defined(__AVX2__)

constexpr int64_t registers_of_group = 2;

template <Kind kind>
struct Lookup {
  static constexpr int64_t table_bytes = kind == Kind::full ? 64 : 32;
  typedef __m256i Codes;

  static Codes load(const char* index) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)); }
  static Codes next(Codes codes) { return _mm256_srli_epi32(codes, 4); }
  struct Pick {
    Codes at;
    __m256 top;  // the fourth bit: a sign, or which register
  };
  static Pick pick(Codes codes) {
    if constexpr (kind == Kind::half) {
      return {codes, _mm256_setzero_ps()};
    }
    const __m256i top = _mm256_slli_epi32(codes, 28);
    return {codes, _mm256_castsi256_ps(kind == Kind::odd ? _mm256_and_si256(top, _mm256_set1_epi32(INT32_MIN)) : top)};
  }
  static Vec find(Pick pick, const char* table) {
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(reinterpret_cast<const float*>(table)), pick.at);
    if constexpr (kind == Kind::half) {
      return reinterpret_cast<Vec>(low);
    }
    if constexpr (kind == Kind::odd) {
      return reinterpret_cast<Vec>(_mm256_xor_ps(low, pick.top));
    }
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(reinterpret_cast<const float*>(table) + 8), pick.at);
    return reinterpret_cast<Vec>(_mm256_blendv_ps(low, high, pick.top));
  }
  static Vec add(Vec a, Vec b) { return a + b; }
};

template <int Span, Kind kind>
class Sums {
 public:
  explicit Sums(const Weights& weights) {
    for (int half = 0; half < halves; ++half) {
      for (int c = 0; c < Span; ++c) {
        alignas(32) float value[8];
        for (int i = 0; i < 8; ++i) {
          value[i] = weights.value[half * 8 + i][c];
        }
        value_[half][c] = _mm256_load_ps(value);
        used_[half][c] = _mm256_cmp_ps(value_[half][c], _mm256_setzero_ps(), _CMP_NEQ_UQ);
      }
    }
  }

  void store(const float (&x)[Span], char* to) const {
    SPARSE_EXPORT_UNROLL(2)
    for (int half = 0; half < halves; ++half) {
      __m256 sum = _mm256_setzero_ps();
      SPARSE_EXPORT_UNROLL(4)
      for (int c = 0; c < Span; ++c) {
        sum = _mm256_fmadd_ps(_mm256_and_ps(_mm256_set1_ps(x[c]), used_[half][c]), value_[half][c], sum);
      }
      _mm256_store_ps(reinterpret_cast<float*>(to) + half * 8, sum);
    }
  }

 private:
  static constexpr int halves = kind == Kind::full ? 2 : 1;
  __m256 value_[halves][Span], used_[halves][Span];
};

#endif

}  // namespace
}  // namespace sparse_export::f32_codes
