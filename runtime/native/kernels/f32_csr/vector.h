// Sparse matrix times one vector: every row is a dot product with gathered inputs, gaps decoded on the way.
#pragma once

#include "core/scratch.h"
#include "decode.h"
#include "source.h"

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

// Four sums and what is left over. Of bytes each is exact: `dot_chunk` entries are few.
struct Dot {
  Quad sums;
  float rest;
};

inline Dot dot_chunked(const uint32_t* columns, const float* values, int64_t count, const float* x) {
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
  return {(sum[0] + sum[1]) + (sum[2] + sum[3]), rest};
}

inline void add_dot(const Dot& dot, float& sum) {
  sum += (dot.sums[0] + dot.sums[1]) + (dot.sums[2] + dot.sums[3]) + dot.rest;
}

inline void add_dot(const Dot& dot, uint32_t& sum) {
  const auto whole = [](float value) { return static_cast<uint32_t>(static_cast<int32_t>(value)); };
  sum += whole(dot.sums[0]) + whole(dot.sums[1]) + whole(dot.sums[2]) + whole(dot.sums[3]) + whole(dot.rest);
}

inline const float* as_floats(const float* values, int64_t, float*) { return values; }

template <class Value>
inline const float* as_floats(const Value* values, int64_t count, float* converted) {
  convert(values, count, converted);
  return converted;
}

template <class Sum, class Gap, class Value>
inline Sum dot(const Gap* gaps, const Value* values, int64_t count, const float* x) {
  uint32_t columns[dot_chunk];
  float converted[dot_chunk];
  Sum sum = 0;
  int32_t before = -1;
  for (int64_t done = 0; done < count; done += dot_chunk) {
    const int64_t length = smaller(dot_chunk, count - done);
    decode_columns(gaps + done, length, columns, before);
    before = static_cast<int32_t>(columns[length - 1]);
    add_dot(dot_chunked(columns, as_floats(values + done, length, converted), length, x), sum);
  }
  return sum;
}

template <class Gap, class Value>
bool multiply_vector(const Call& call, int64_t first_row, int64_t last_row, const Gap* gaps, const Value* values) {
  const int64_t channels = call.geometry.channels_per_group();
  for (int64_t row = first_row; row < last_row; ++row) {
    const int64_t begin = call.weights.begin(row);
    const int64_t group = row / call.geometry.outputs_per_group();
    const int64_t count = call.weights.begin(row + 1) - begin;
    const float sum = dot<float>(gaps + begin, values + begin, count, call.x + group * channels);
    call.y[row] = finish(call.epilogue, row, sum, row);
  }
  return true;
}

// The same of bytes: X as floats, and the sums of all rows. False: out of memory.
template <class Gap, class Value>
bool multiply_bytes(const Call& call, int64_t first_row, int64_t last_row, const Gap* gaps, const Value* values) {
  const int64_t channels = call.geometry.channels, rows = last_row - first_row;
  thread_local Scratch scratch;
  auto* x = reinterpret_cast<float*>(scratch.reserve(static_cast<size_t>(channels + lanes + rows) * 4));
  if (x == nullptr) {
    return false;
  }
  auto* sums = reinterpret_cast<uint32_t*>(x + channels + lanes);
  const Eights source(call);
  for (int64_t c = 0; c < channels; c += lanes) {
    store(x + c, source.whole(source.x + c));
  }
  for (int64_t row = first_row; row < last_row; ++row) {
    const int64_t begin = call.weights.begin(row), count = call.weights.begin(row + 1) - begin;
    const int64_t group = row / call.geometry.outputs_per_group();
    const float* from = x + group * call.geometry.channels_per_group();
    sums[row - first_row] = dot<uint32_t>(gaps + begin, values + begin, count, from);
  }
  const Sums& out = call.bytes->sums;
  out.pixel(out.context, first_row, rows, reinterpret_cast<const int32_t*>(sums), first_row);
  return true;
}

}  // namespace
}  // namespace sparse_export::f32_csr
