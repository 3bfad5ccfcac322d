// Both sides one bit: XOR finds the products that are -1, a population count adds them up.
//
// A unit's bits are laid out in the order of the weights' bits (kernel row, kernel column, channel), so the weights are
// read where the file has them: word w of a row meets word w of every pixel. A second set of words says which taps lie
// inside the image: padding is zero, as in the float graph, and adds nothing.
//
// Accumulators are 64 bits wide: no sum of at most 2^31 ones can overflow. The integer product becomes a float once,
// exactly where it is below 2^24, and scale and bias are two roundings, as Mul and Add of the float graph are
// (this file is compiled without contraction to fused multiply-add).
#include "core/epilogue_vector.h"
#include "load.h"

namespace sparse_export::bit_bit {
namespace {

constexpr int64_t block_rows = 4;  // of weights, at a time

// ---- Products -------------------------------------------------------------------------------------------------------

// Some rows of weights; the last word of each apart, since it may reach past the row's end.
struct Rows {
  const uint8_t* row[block_rows];
  uint64_t last[block_rows];
  int64_t bytes;
};

// Products that are -1 of `block_rows` rows and Vectors vectors of pixels, added up for as many words as `Ones` can hold.
template <int Vectors>
void count_block(const Tile& t, const Rows& rows, int64_t pixel, uint64_t* ones) {
  const uint64_t* signs = t.signs + pixel;
  const uint64_t* outside = t.outside + pixel;
  int64_t left = t.run;
  for (int64_t w = 0; w < t.words;) {
    const bool fresh = w == 0;
    const int64_t end = most_additions == 0 ? t.words : smaller(t.words, w + most_additions);
    Ones acc[block_rows][Vectors] = {};
    // Always inline: clang leaves a function that is called twice a function, and its sums in memory.
    const auto step = [&](const uint64_t* weights) __attribute__((always_inline)) {
      SPARSE_EXPORT_UNROLL(4)
      for (int v = 0; v < Vectors; ++v) {
        const WordVec x = load_words(signs + v * word_lanes), none = load_words(outside + v * word_lanes);
        SPARSE_EXPORT_UNROLL(4)
        for (int k = 0; k < block_rows; ++k) {
          add_ones(acc[k][v], products(x, WordVec{} + weights[k], none));
        }
      }
      signs += tile;
      if (--left == 0) {
        left = t.run;
        outside += tile;
      }
    };
    for (; w < smaller(end, t.words - 1); ++w) {
      uint64_t weights[block_rows];
      SPARSE_EXPORT_UNROLL(4)
      for (int k = 0; k < block_rows; ++k) {
        std::memcpy(&weights[k], rows.row[k] + w * 8, 8);
      }
      step(weights);
    }
    if (end == t.words) {
      step(rows.last);
      w = end;
    }
    SPARSE_EXPORT_UNROLL(4)
    for (int k = 0; k < block_rows; ++k) {
      SPARSE_EXPORT_UNROLL(4)
      for (int v = 0; v < Vectors; ++v) {
        uint64_t* to = ones + k * tile + pixel + v * word_lanes;
        store_words(to, fresh ? total(acc[k][v]) : load_words(to) + total(acc[k][v]));
      }
    }
  }
}

void count_pixels(const Tile& t, const Rows& rows, int64_t pixels, uint64_t* ones) {
  int64_t p = 0;
  for (; p + 3 * word_lanes < pixels; p += 4 * word_lanes) {
    count_block<4>(t, rows, p, ones);
  }
  switch (ceil_div(pixels - p, word_lanes)) {
    case 3:
      return count_block<3>(t, rows, p, ones);
    case 2:
      return count_block<2>(t, rows, p, ones);
    case 1:
      return count_block<1>(t, rows, p, ones);
    default:
      return;
  }
}

inline uint64_t sum_of(WordVec v) {
#if defined(__AVX512F__)
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(reinterpret_cast<__m512i>(v)));
#else
  uint64_t sum = 0;
  for (int64_t i = 0; i < word_lanes; ++i) {
    sum += v[i];
  }
  return sum;
#endif
}

// The same for so few pixels that a vector holds words of one of them.
template <int Pixels>
void count_words(const Tile& t, const Rows& rows, uint64_t* ones) {
  for (int64_t k = 0; k < block_rows; ++k) {
    uint64_t sum[Pixels] = {};
    for (int64_t w = 0; w * 8 < rows.bytes;) {
      const int64_t end = most_additions == 0 ? t.words : smaller(t.words, w + most_additions * word_lanes);
      Ones acc[Pixels] = {};
      const auto step = [&](WordVec weights) __attribute__((always_inline)) {
        SPARSE_EXPORT_UNROLL(4)
        for (int64_t p = 0; p < Pixels; ++p) {
          const int64_t at = p * t.pixel_step + w;
          add_ones(acc[p], products(load_words(t.signs + at), weights, load_words(t.outside + at)));
        }
        w += word_lanes;
      };
      while (w + word_lanes <= end && (w + word_lanes) * 8 <= rows.bytes) {
        WordVec weights;
        std::memcpy(&weights, rows.row[k] + w * 8, sizeof weights);
        step(weights);
      }
      if (end == t.words && w * 8 < rows.bytes) {
        WordVec weights{};
        std::memcpy(&weights, rows.row[k] + w * 8, static_cast<size_t>(rows.bytes - w * 8));
        step(weights);
      }
      SPARSE_EXPORT_UNROLL(4)
      for (int64_t p = 0; p < Pixels; ++p) {
        sum[p] += sum_of(total(acc[p]));
      }
    }
    for (int64_t p = 0; p < Pixels; ++p) {
      ones[k * tile + p] = sum[p];
    }
  }
}

void count_rows(const Tile& t, const Rows& rows, int64_t pixels, uint64_t* ones) {
  if (pixels > few) {
    count_pixels(t, rows, pixels, ones);
  } else if (pixels == 1) {
    count_words<1>(t, rows, ones);
  } else if (pixels == 2) {
    count_words<2>(t, rows, ones);
  } else {
    count_words<few>(t, rows, ones);
  }
}

// ---- Results --------------------------------------------------------------------------------------------------------

void store_row(const Call& call, const Cut& cut, const Part& part, int64_t k, const Tile& t, const uint64_t* ones) {
  float product[tile];
  for (int64_t p = 0; p < part.pixels; ++p) {
    product[p] = static_cast<float>(static_cast<int32_t>(t.products[p] - 2 * static_cast<int64_t>(ones[p])));
  }
  const Epilogue& epilogue = call.epilogue;
  if (call.matrix) {
    for (int64_t p = 0; p < part.pixels; ++p) {
      const int64_t at = (part.pixel + p) * call.weights.rows + k;
      call.y[at] = finish(epilogue, k, product[p], at);
    }
    return;
  }
  const int64_t at = (part.image * call.weights.rows + k) * cut.pixels + part.pixel;
  const Vec scale = broadcast(epilogue.scale[k]), bias = broadcast(epilogue.bias[k]);
  const ActivationVec activation = spread(epilogue.activation);
  for (int64_t p = 0; p < part.pixels; p += lanes) {
    const float* residual = epilogue.residual == nullptr ? nullptr : epilogue.residual + at + p;
    const Vec sums = load_lanes(product + p, 0, part.pixels - p);
    store_lanes(call.y + at + p, finish(sums, scale, bias, residual, part.pixels - p, activation), part.pixels - p);
  }
}

// Bit p: whether the result at pixel p is negative.
uint64_t negative_results(const Tile& t, const uint64_t* ones, int64_t pixels, SignRule rule) {
  typedef int64_t SignedVec __attribute__((vector_size(lanes * 4)));
  uint64_t bits = 0;
  for (int64_t p = 0; p < smaller(pixels, tile); p += word_lanes) {
    WordVec taps;
    std::memcpy(&taps, t.products + p, sizeof taps);
    const auto product = reinterpret_cast<SignedVec>(taps - 2 * load_words(ones + p));
    const SignedVec hit = product < rule.below;
#if defined(__AVX512F__)
    const uint64_t found = _mm512_movepi64_mask(reinterpret_cast<__m512i>(hit));
#elif defined(__AVX2__)
    const auto found = static_cast<uint64_t>(_mm256_movemask_pd(reinterpret_cast<__m256d>(hit)));
#else
    uint64_t found = 0, lane[word_lanes];
    std::memcpy(lane, &hit, sizeof lane);
    for (int64_t i = 0; i < word_lanes; ++i) {
      found |= (lane[i] & 1) << i;
    }
#endif
    bits |= found << p;
  }
  return rule.falling ? ~bits : bits;
}

// Bits of up to 64 channels from `k` on, [channel][pixel], to the pixels' bytes; channels past `rows` are zero.
void store_signs(const Call& call, const Cut& cut, const Part& part, int64_t k, int64_t rows, uint64_t* bits) {
  transpose(bits);
  uint8_t* to = call.y_signs + (part.image * cut.pixels + part.pixel) * call.y_bytes() + k / 8;
  for (int64_t p = 0; p < part.pixels; ++p) {
    store_bytes(to + p * call.y_bytes(), bits[p], (rows + 7) / 8);
  }
}

bool run_unit(const Call& call, const Cut& cut, size_t unit) noexcept {
  const Part part = part_of(cut, unit);
  Tile t;
  if (!load_tile(call, part, t)) {
    return false;
  }
  const int64_t first = part.group * cut.rows + part.row;
  alignas(64) uint64_t ones[block_rows * tile], bits[64];
  Rows rows;
  rows.bytes = call.weights.row_bytes();
  for (int64_t row = 0; row < part.rows; row += block_rows) {
    for (int64_t i = 0; i < block_rows; ++i) {
      const int64_t k = smaller(row + i, part.rows - 1);  // the last one again where rows end
      rows.row[i] = call.weights.row(first + k);
      rows.last[i] = load_bytes(rows.row[i] + (t.words - 1) * 8, rows.bytes - (t.words - 1) * 8);
    }
    count_rows(t, rows, part.pixels, ones);
    if (call.y_signs == nullptr) {
      for (int64_t i = 0; i < smaller(block_rows, part.rows - row); ++i) {
        store_row(call, cut, part, first + row + i, t, ones + i * tile);
      }
      continue;
    }
    for (int64_t i = 0; i < block_rows; ++i) {
      bits[row % 64 + i] =
          row + i < part.rows ? negative_results(t, ones + i * tile, part.pixels, call.rules[first + row + i]) : 0;
    }
    const int64_t done = row % 64 + block_rows;
    if (done == 64 || row + block_rows >= part.rows) {
      std::memset(bits + done, 0, static_cast<size_t>(64 - done) * 8);
      const int64_t start = row / 64 * 64;
      store_signs(call, cut, part, first + start, smaller(part.rows - start, 64), bits);
    }
  }
  return true;
}

}  // namespace

extern const Kernels SPARSE_EXPORT_TARGET_NAME = {arrange, run_unit};

}  // namespace sparse_export::bit_bit
