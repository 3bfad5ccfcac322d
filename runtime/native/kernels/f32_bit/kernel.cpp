// 1-bit weights times float activations for every target without 16-entry tables: a block of weights becomes +-1 in
// scratch that fits the first cache, never the whole weight.
#include <bit>

#include "core/epilogue_vector.h"
#include "core/scratch.h"
#include "input.h"

namespace sparse_export::f32_bit {
namespace {

constexpr int64_t block_columns = 128;
#if defined(SPARSE_EXPORT_NEON)
constexpr int64_t block_rows = 8;  // 16 accumulators of 32 registers, and a vector of weights of each row
#else
constexpr int64_t block_rows = 6;  // 12 accumulators of 16 registers
#endif
constexpr int64_t block_vectors = 2;  // of pixels, at a time

// The signs of weights [at, at + lanes) of the 32 whose bits these are: the top bits of the lanes.
template <int At>
inline IndexVec sign_bits(uint32_t bits) {
#if defined(__AVX2__) || defined(SPARSE_EXPORT_NEON)
  // Each lane's bit moves to the top: one shift, where a comparison would need three instructions.
  const IndexVec places = 31 - At - lane_numbers();
  return (IndexVec{} + static_cast<int32_t>(bits)) << places;
#else
  IndexVec select{};
  for (int32_t i = 0; i < lanes; ++i) {
    select[i] = static_cast<int32_t>(1U << (At + i));
  }
  return (select & static_cast<int32_t>(bits)) != 0;
#endif
}

// `step(sign bits, index of the first)` for the 32 weights whose bits these are, a vector at a time.
template <int At = 0, class Step>
inline void by_vectors(uint32_t bits, Step&& step) {
  if constexpr (At < 32) {
    step(sign_bits<At>(bits), At);
    by_vectors<At + static_cast<int>(lanes)>(bits, step);
  }
}

inline uint32_t load_bits(const uint8_t* bits) {
  static_assert(std::endian::native == std::endian::little);
  uint32_t word;
  std::memcpy(&word, bits, sizeof word);
  return word;
}

inline Vec flip(Vec v, IndexVec signs) {
#if defined(__ARM_FEATURE_SHA3)
  return reinterpret_cast<Vec>(vbcaxq_s32(reinterpret_cast<int32x4_t>(v), reinterpret_cast<int32x4_t>(signs),
                                          vdupq_n_s32(INT32_MAX)));
#else
  return reinterpret_cast<Vec>(reinterpret_cast<IndexVec>(v) ^ (signs & INT32_MIN));
#endif
}

// Sum of `count` values with the signs of the bits; the last bits of a row are zero.
float dot(const uint8_t* bits, const float* x, int64_t count) {
  Vec sum[4] = {};
  int64_t j = 0;
  for (; j + 32 <= count; j += 32) {
    by_vectors(load_bits(bits + j / 8),
               [&](IndexVec signs, int at) { sum[at / static_cast<int>(lanes) % 4] += flip(load(x + j + at), signs); });
  }
  float total = 0;
  const Vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (int64_t i = 0; i < lanes; ++i) {
    total += all[i];
  }
  for (; j < count; ++j) {
    total += (bits[j / 8] >> (j % 8) & 1) != 0 ? -x[j] : x[j];
  }
  return total;
}

// Column j of a block: acc += weights x values.
#if defined(SPARSE_EXPORT_NEON)
template <int Lane>
inline void add_column(const float* values, const Vec (&weight)[block_rows], Vec (&acc)[block_rows][block_vectors]) {
  const Vec a = load(values), b = load(values + lanes);
  SPARSE_EXPORT_UNROLL(8)
  for (int64_t k = 0; k < block_rows; ++k) {
    acc[k][0] = vfmaq_laneq_f32(acc[k][0], a, weight[k], Lane);
    acc[k][1] = vfmaq_laneq_f32(acc[k][1], b, weight[k], Lane);
  }
}

// Four columns: their weights come in one load and are multiplied where they are.
inline void add_columns(const float* values, int64_t pitch, const float* weights,
                        Vec (&acc)[block_rows][block_vectors]) {
  Vec weight[block_rows];
  SPARSE_EXPORT_UNROLL(8)
  for (int64_t k = 0; k < block_rows; ++k) {
    weight[k] = load(weights + k * block_columns);
  }
  add_column<0>(values, weight, acc);
  add_column<1>(values + pitch, weight, acc);
  add_column<2>(values + 2 * pitch, weight, acc);
  add_column<3>(values + 3 * pitch, weight, acc);
}
#endif

// Sums of `block_rows` rows and `block_vectors` vectors of pixels += weights x values.
inline void accumulate(const float* values, int64_t pitch, const float* weights, int64_t count, float* sum,
                       int64_t sum_pitch) {
  Vec acc[block_rows][block_vectors];
  SPARSE_EXPORT_UNROLL(8)
  for (int64_t k = 0; k < block_rows; ++k) {
    SPARSE_EXPORT_UNROLL(2)
    for (int64_t v = 0; v < block_vectors; ++v) {
      acc[k][v] = load(sum + k * sum_pitch + v * lanes);
    }
  }
  int64_t j = 0;
#if defined(SPARSE_EXPORT_NEON)
  for (; j + 4 <= count; j += 4) {
    add_columns(values + j * pitch, pitch, weights + j, acc);
  }
#endif
  for (; j < count; ++j) {
    const Vec a = load(values + j * pitch), b = load(values + j * pitch + lanes);
    SPARSE_EXPORT_UNROLL(8)
    for (int64_t k = 0; k < block_rows; ++k) {
      const Vec weight = broadcast(weights[k * block_columns + j]);
      acc[k][0] += weight * a;
      acc[k][1] += weight * b;
    }
  }
  SPARSE_EXPORT_UNROLL(8)
  for (int64_t k = 0; k < block_rows; ++k) {
    SPARSE_EXPORT_UNROLL(2)
    for (int64_t v = 0; v < block_vectors; ++v) {
      store(sum + k * sum_pitch + v * lanes, acc[k][v]);
    }
  }
}

// A few rows of X: signed sums along the columns.
void few_pixels(const Call& call, const Part& part) {
  for (int64_t k = part.row; k < part.row + part.rows; ++k) {
    for (int64_t p = part.pixel; p < part.pixel + part.pixels; ++p) {
      const float product = dot(call.weights.row(k), call.x + p * call.weights.columns, call.weights.columns);
      const int64_t at = p * call.weights.rows + k;
      call.y[at] = finish(call.epilogue, k, product, at);
    }
  }
}

void finish_part(const Call& call, const Cut& cut, const Part& part, const float* sum, int64_t pitch) {
  const int64_t first = part.group * cut.rows + part.row;
  if (call.matrix) {
    for (int64_t p = 0; p < part.pixels; ++p) {
      const int64_t at = (part.pixel + p) * call.weights.rows + first;
      for (int64_t i = 0; i < part.rows; ++i) {
        call.y[at + i] = finish(call.epilogue, first + i, sum[i * pitch + p], at + i);
      }
    }
    return;
  }
  for (int64_t i = 0; i < part.rows; ++i) {
    const int64_t at = (part.image * call.weights.rows + first + i) * cut.pixels + part.pixel;
    for (int64_t p = 0; p < part.pixels; ++p) {
      call.y[at + p] = finish(call.epilogue, first + i, sum[i * pitch + p], at + p);
    }
  }
}

// Rows [row, row + block_rows) of the weights as +-1; rows past the end repeat the last one.
void expand(const bit::Weights& weights, int64_t row, int64_t last, int64_t first, int64_t count, float* to) {
  const Vec one = broadcast(1);
  for (int64_t k = 0; k < block_rows; ++k, to += block_columns) {
    const uint8_t* bits = weights.row(row + k < last ? row + k : last - 1) + first / 8;
    int64_t j = 0;
    for (; j + 32 <= count; j += 32) {
      by_vectors(load_bits(bits + j / 8),
                 [&](IndexVec signs, int at) { store_aligned(to + j + at, flip(one, signs)); });
    }
    for (; j < count; ++j) {
      to[j] = bit::get(bits, j) ? -1.0F : 1.0F;
    }
  }
}

void gather(const InputBlock& block, int64_t pixels, int64_t count, float* values, int64_t pitch) {
  for (int64_t j = 0; j < count; ++j) {
    const float* from = block.base + block.column[j];
    for (int64_t p = 0; p < pixels; ++p) {
      values[j * pitch + p] = from[block.pixel[p]];
    }
  }
}

bool run_unit(const Call& call, const Cut& cut, size_t unit) noexcept {
  const Part part = part_of(cut, unit);
  if (call.matrix && part.pixels < lanes) {
    few_pixels(call, part);
    return true;
  }
  thread_local Scratch scratch;
  const int64_t pitch = (part.pixels + block_vectors * lanes - 1) / (block_vectors * lanes) * block_vectors * lanes;
  const int64_t rows = (part.rows + block_rows - 1) / block_rows * block_rows;
  const int64_t values_size = block_columns * pitch, sum_size = rows * pitch, weights_size = block_rows * block_columns;
  auto* values = reinterpret_cast<float*>(
      scratch.reserve(static_cast<size_t>(values_size + sum_size + weights_size + window_floats(call, part)) * 4));
  if (values == nullptr) {
    return false;
  }
  float* sum = values + values_size;
  float* weights = sum + sum_size;
  std::memset(values, 0, static_cast<size_t>(values_size + sum_size) * 4);
  InputBlock block;
  fill_pixels(call, part, block);
  const int64_t first_row = part.group * cut.rows + part.row;
  for (int64_t first = 0; first < call.weights.columns; first += block_columns) {
    const int64_t left = call.weights.columns - first, count = left < block_columns ? left : block_columns;
    fill_block(call, part, first, count, weights + weights_size, block);
    gather(block, part.pixels, count, values, pitch);
    for (int64_t k = 0; k < part.rows; k += block_rows) {
      expand(call.weights, first_row + k, first_row + part.rows, first, count, weights);
      for (int64_t p = 0; p < part.pixels; p += block_vectors * lanes) {
        accumulate(values + p, pitch, weights, count, sum + k * pitch + p, pitch);
      }
    }
  }
  finish_part(call, cut, part, sum, pitch);
  return true;
}

}  // namespace

// A block of weights is expanded once for all pixels of a part: parts of few pixels would expand more than they
// multiply, so it is rows that are cut for threads.
extern const Kernels SPARSE_EXPORT_TARGET_NAME = {
    {.work = 4e6, .pixels = 64, .grain = 64, .fewest_rows = 128, .most_rows = 1024}, run_unit};

}  // namespace sparse_export::f32_bit
