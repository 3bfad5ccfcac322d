// One pixel, or few: rows times a vector of activations, in bundles of sixteen rows.
#pragma once

#include "bundles.h"
#include "epilogue.h"
#include "tile.h"

namespace sparse_export::s8_csr {
namespace {

// Sums of sixteen rows: steps of one bundle, `counts` of them for each 128 activations.
#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
inline void sum_bundle(const Step* step, const uint8_t* counts, int64_t chunks, const uint8_t* x, int32_t* sums) {
  __m512i even = _mm512_setzero_si512(), odd = even;
  const auto add = [](__m512i sum, const Step& from, __m512i low, __m512i high) {
    const __m512i found = _mm512_permutex2var_epi8(low, _mm512_load_si512(from.index), high);
    return _mm512_dpbusd_epi32(sum, found, _mm512_load_si512(from.weight));
  };
  for (int64_t chunk = 0; chunk < chunks; ++chunk, x += chunk_channels) {
    const __m512i low = _mm512_loadu_si512(x), high = _mm512_loadu_si512(x + 64);
    int64_t left = counts[chunk];
    for (; left >= 2; left -= 2, step += 2) {
      even = add(even, step[0], low, high);
      odd = add(odd, step[1], low, high);
    }
    if (left != 0) {
      even = add(even, *step++, low, high);
    }
  }
  _mm512_storeu_si512(sums, _mm512_add_epi32(even, odd));
}
#elif defined(__AVX2__) && !defined(__AVX512F__)
// 128 activations, sixteen in both halves of each vector: the low bits of an index look up in all of them, and the
// others choose between what they find.
struct Lookup {
  __m256i part[8];

  explicit Lookup(const uint8_t* x) {
    SPARSE_EXPORT_UNROLL(8)
    for (int i = 0; i < 8; ++i) {
      part[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + 16 * i)));
    }
  }

  SPARSE_EXPORT_INLINE __m256i find(__m256i index) const {
    const __m256i bit4 = _mm256_slli_epi16(index, 3), bit5 = _mm256_slli_epi16(index, 2);
    const auto two = [&](int i) {
      return _mm256_blendv_epi8(_mm256_shuffle_epi8(part[i], index), _mm256_shuffle_epi8(part[i + 1], index), bit4);
    };
    const __m256i low = _mm256_blendv_epi8(two(0), two(2), bit5), high = _mm256_blendv_epi8(two(4), two(6), bit5);
    return _mm256_blendv_epi8(low, high, _mm256_slli_epi16(index, 1));
  }
};

inline void sum_bundle(const Step* step, const uint8_t* counts, int64_t chunks, const uint8_t* x, int32_t* sums) {
  constexpr int64_t half = bundle_rows / 2 * group_channels;
  IndexVec first{}, second{};
  const auto load = [](const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); };
  for (int64_t chunk = 0; chunk < chunks; ++chunk, x += chunk_channels) {
    const Lookup lookup(x);
    for (int64_t left = counts[chunk]; left > 0; --left, ++step) {
      const __m256i low = lookup.find(load(step->index)), high = lookup.find(load(step->index + half));
      first = add(first, reinterpret_cast<IndexVec>(low), of_lanes(load(step->weight)));
      second = add(second, reinterpret_cast<IndexVec>(high), of_lanes(load(step->weight + half)));
    }
  }
  std::memcpy(sums, &first, sizeof first);
  std::memcpy(sums + lanes, &second, sizeof second);
}
#else
inline void sum_bundle(const Step* step, const uint8_t* counts, int64_t chunks, const uint8_t* x, int32_t* sums) {
  uint32_t all[bundle_rows] = {};
  for (int64_t chunk = 0; chunk < chunks; ++chunk, x += chunk_channels) {
    for (int64_t left = counts[chunk]; left > 0; --left, ++step) {
      for (int64_t row = 0; row < bundle_rows; ++row) {
        int32_t sum = 0;
        for (int64_t i = row * group_channels; i < (row + 1) * group_channels; ++i) {
          sum += x[step->index[i]] * step->weight[i];
        }
        all[row] += static_cast<uint32_t>(sum);
      }
    }
  }
  std::memcpy(sums, all, sizeof all);
}
#endif

// X, a row of whole chunks for each pixel.
inline void copy_pixel(const Call& call, int64_t pixel, int64_t pitch, uint8_t* planes) {
  const int64_t channels = call.geometry.channels;
  const uint8_t* from = call.x + pixel * channels;
  uint8_t* to = planes + pixel * pitch;
  for (int64_t c = 0; c < channels; ++c) {
    to[c] = from[c] ^ call.flip;
  }
  std::memset(to + channels, 0, static_cast<size_t>(pitch - channels));
}

// Bundles [first, last) of every pixel.
inline void run_bundles(const Call& call, const Bundles& bundles, const uint8_t* planes, int64_t first, int64_t last) {
  const int64_t rows = call.geometry.outputs, pitch = bundles.chunks * chunk_channels;
  for (int64_t bundle = first; bundle < last; ++bundle) {
    const Step* steps = bundles.steps.data() + bundles.first[static_cast<size_t>(bundle)];
    const uint8_t* counts = bundles.counts.data() + bundle * bundles.chunks;
    const int64_t row = bundle * bundle_rows;
    for (int64_t pixel = 0; pixel < call.size.batch; ++pixel) {
      int32_t sums[bundle_rows];
      sum_bundle(steps, counts, bundles.chunks, planes + pixel * pitch, sums);
      finish_rows(call, row, smaller(bundle_rows, rows - row), sums, pixel * rows + row);
    }
  }
}

}  // namespace
}  // namespace sparse_export::s8_csr
