// Where activations come from: floats, or bytes that become floats as they are brought into order.
#pragma once

#include <cstring>

#include "call.h"
#include "core/simd.h"

namespace sparse_export::f32_csr {
namespace {

struct Floats {
  using Element = float;
  const float* x;

  explicit Floats(const Call& call) : x(call.x) {}

  static float at(const float* p) { return *p; }
  static Vec outside() { return Vec{}; }  // what padding holds
  static Vec whole(const float* p) { return load(p); }
  static Vec first(const float* p, int64_t count) { return load_lanes(p, 0, count); }  // the others: any number
  static Vec inside(const float* p, LaneMask mask) { return load_masked(p, mask); }    // the others: padding
};

#if defined(__AVX512F__)
inline Vec floats_of(const uint8_t* p, uint8_t flip) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i counted = _mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(flip)));
  return reinterpret_cast<Vec>(_mm512_maskz_cvtepi32_ps(0xFFFF, _mm512_maskz_cvtepu8_epi32(0xFFFF, counted)));
}
inline Vec choose(LaneMask mask, Vec a, Vec b) {
  return reinterpret_cast<Vec>(
      _mm512_mask_blend_ps(mask, reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(a)));
}
#elif defined(__AVX2__)
inline Vec floats_of(const uint8_t* p, uint8_t flip) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i counted = _mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(flip)));
  return reinterpret_cast<Vec>(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(counted)));
}
inline Vec choose(LaneMask mask, Vec a, Vec b) {
  return reinterpret_cast<Vec>(
      _mm256_blendv_ps(reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(a), _mm256_castsi256_ps(mask)));
}
#else
inline Vec floats_of(const uint8_t* p, uint8_t flip) {
  typedef uint8_t Narrow __attribute__((vector_size(lanes)));
  Narrow bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(__builtin_convertvector(bytes ^ flip, IndexVec), Vec);
}
inline Vec choose(LaneMask mask, Vec a, Vec b) {
  const IndexVec lane = lane_numbers();
  const IndexVec in = (lane >= static_cast<int32_t>(mask.low)) & (lane < static_cast<int32_t>(mask.high));
  return in ? a : b;
}
#endif

// Whole vectors are read wherever they lie in X: there is no load of some bytes.
class Eights {
 public:
  using Element = uint8_t;
  const uint8_t* x;

  explicit Eights(const Call& call) : x(call.bytes->x), flip_(call.bytes->flip), padding_(broadcast(call.bytes->zero)) {
    size_ = call.size.batch * call.geometry.channels * call.size.input[0] * call.size.input[1];
    wholes_ = static_cast<size_t>(larger(0, size_ - lanes + 1));
  }

  float at(const uint8_t* p) const { return static_cast<float>(*p ^ flip_); }
  Vec outside() const { return padding_; }
  Vec whole(const uint8_t* p) const {
    const bool within = static_cast<size_t>(p - x) < wholes_;
    return within ? floats_of(p, flip_) : at_edge(p);
  }
  Vec first(const uint8_t* p, int64_t) const { return whole(p); }
  Vec inside(const uint8_t* p, LaneMask mask) const { return choose(mask, whole(p), padding_); }

 private:
  // Partly before X or behind it.
  __attribute__((noinline)) Vec at_edge(const uint8_t* p) const {
    uint8_t bytes[lanes] = {};
    for (int64_t i = 0; i < lanes; ++i) {
      const int64_t place = p - x + i;
      if (place >= 0 && place < size_) {
        bytes[i] = x[place];
      }
    }
    return floats_of(bytes, flip_);
  }

  uint8_t flip_;
  Vec padding_;
  int64_t size_;
  size_t wholes_;
};

}  // namespace
}  // namespace sparse_export::f32_csr
