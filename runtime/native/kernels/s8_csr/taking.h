// Outputs from the sums that f32_csr computed of this kernel's activations and weights: see in_floats.h.
#pragma once

#include "epilogue.h"
#include "requantize.h"

namespace sparse_export::s8_csr {
namespace {

// Sums with their bias, a vector at a time, to the outputs of one row.
inline void take_row(const Call& call, int64_t row, const f32_csr::Run* runs, int64_t count, const int32_t* sums) {
  const int64_t area = call.size.output[0] * call.size.output[1];
  for (const f32_csr::Run* run = runs; run < runs + count; ++run) {
    const int64_t at = (run->image * call.geometry.outputs + row) * area + run->pixel;
    finish(call, row, sums + run->position, run->length, at);
  }
}

inline void take_floats(const void* context, int64_t row, const f32_csr::Run* runs, int64_t count, const float* sums) {
  const Call& call = *static_cast<const Call*>(context);
  const f32_csr::Run& last = runs[count - 1];
  const int64_t vectors = ceil_div(last.position + last.length, lanes);
  if (any_quarters && !call.out.floats) {
    const int64_t area = call.size.output[0] * call.size.output[1];
    const auto finish_row = call.out.residual ? finish_runs<true, float> : finish_runs<false, float>;
    return finish_row(call, runs, count, vectors, row, row * area, call.geometry.outputs * area, sums);
  }
  alignas(vector_bytes) int32_t whole[(max_tile + 1) * lanes];  // `finish` reads whole vectors
  for (int64_t i = 0; i < vectors * lanes; i += lanes) {
    const IndexVec sum = __builtin_convertvector(load_aligned(sums + i), IndexVec);
    *reinterpret_cast<IndexVec*>(whole + i) = add_modulo(sum, IndexVec{} + call.out.bias[row]);
  }
  take_row(call, row, runs, count, whole);
}

// Of any number of pixels.
inline void take_integers(const void* context, int64_t row, const f32_csr::Run* runs, int64_t count,
                          const int32_t* sums) {
  const Call& call = *static_cast<const Call*>(context);
  constexpr int64_t at_once = max_tile * lanes;
  int32_t whole[at_once + lanes];
  for (const f32_csr::Run* run = runs; run < runs + count; ++run) {
    for (int64_t done = 0; done < run->length; done += at_once) {
      const f32_csr::Run part{run->image, run->pixel + done, smaller(at_once, run->length - done), 0};
      for (int64_t i = 0; i < part.length; ++i) {
        const auto sum = static_cast<uint32_t>(sums[run->position + done + i]);
        whole[i] = static_cast<int32_t>(sum + static_cast<uint32_t>(call.out.bias[row]));
      }
      take_row(call, row, &part, 1, whole);
    }
  }
}

inline void take_pixel(const void* context, int64_t row, int64_t count, const int32_t* sums, int64_t at) {
  const Call& call = *static_cast<const Call*>(context);
  finish_rows(call, row, count, sums, at);
}

}  // namespace
}  // namespace sparse_export::s8_csr
