// Sparse matrix times one vector: every row is a dot product with gathered inputs, gaps decoded on the way.
#pragma once

#include "decode.h"

namespace sparse_export::f32_csr {
namespace {

// Entries decoded at a time: columns and values stay in the L1 cache beside the input.
constexpr int64_t dot_chunk = 1024;

typedef float Quad __attribute__((vector_size(16)));
typedef float UnalignedQuad __attribute__((vector_size(16), aligned(4), may_alias));

// Four inputs put together from scalar loads: on every CPU tried this beats a gather instruction.
inline Quad pick(const float* x, const uint32_t* columns) {
  return Quad{x[columns[0]], x[columns[1]], x[columns[2]], x[columns[3]]};
}

inline float dot_chunked(const uint32_t* columns, const float* values, int64_t count, const float* x) {
  Quad sum[4] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    SPARSE_EXPORT_UNROLL(4)
    for (int64_t j = 0; j < 4; ++j) {
      const Quad value = *reinterpret_cast<const UnalignedQuad*>(values + i + 4 * j);
      sum[j] += value * pick(x, columns + i + 4 * j);
    }
  }
  float rest = 0;
  for (; i < count; ++i) {
    rest += values[i] * x[columns[i]];
  }
  const Quad all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  return (all[0] + all[1]) + (all[2] + all[3]) + rest;
}

inline const float* as_floats(const float* values, int64_t, float*) { return values; }

template <class Value>
inline const float* as_floats(const Value* values, int64_t count, float* converted) {
  convert(values, count, converted);
  return converted;
}

template <class Gap, class Value>
inline float dot(const Gap* gaps, const Value* values, int64_t count, const float* x) {
  uint32_t columns[dot_chunk];
  float converted[dot_chunk];
  float sum = 0;
  int32_t before = -1;
  for (int64_t done = 0; done < count; done += dot_chunk) {
    const int64_t length = smaller(dot_chunk, count - done);
    decode_columns(gaps + done, length, columns, before);
    before = static_cast<int32_t>(columns[length - 1]);
    sum += dot_chunked(columns, as_floats(values + done, length, converted), length, x);
  }
  return sum;
}

template <class Gap, class Value>
void multiply_vector(const Call& call, int64_t first_row, int64_t last_row, const Gap* gaps, const Value* values) {
  const int64_t channels = call.geometry.channels_per_group();
  for (int64_t row = first_row; row < last_row; ++row) {
    const int64_t begin = call.weights.begin(row);
    const int64_t group = row / call.geometry.outputs_per_group();
    const float sum = dot(gaps + begin, values + begin, call.weights.begin(row + 1) - begin, call.x + group * channels);
    call.y[row] = finish(call.epilogue, row, sum, row);
  }
}

}  // namespace
}  // namespace sparse_export::f32_csr
