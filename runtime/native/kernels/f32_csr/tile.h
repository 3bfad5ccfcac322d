// The inner loop: one row's taps of one block of columns, added to one tile held in registers.
#pragma once

#include <bit>
#include <cstring>
#include <utility>

#include "call.h"
#include "core/epilogue_vector.h"

namespace sparse_export::f32_csr {
namespace {

// Where and how a finished tile of one row goes: vector i to y + i * step, `count` lanes (the last vector: `last`).
struct Destination {
  float* y;
  const float* residual;  // null: none; same layout as y
  int64_t step, count, last;
  float scale, bias;
  Activation activation;
};

template <int T>
inline void finish_tile(const Vec* sum, const Destination& out) {
  const Vec scale = broadcast(out.scale);
  const Vec bias = broadcast(out.bias);
  const ActivationVec activation = spread(out.activation);
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i < T; ++i) {
    const int64_t count = i + 1 == T ? out.last : out.count;
    const float* residual = out.residual == nullptr ? nullptr : out.residual + i * out.step;
    store_lanes(out.y + i * out.step, finish(sum[i], scale, bias, residual, count, activation), count);
  }
}

// Two neighbouring offsets in one load: the loads of the taps themselves leave little room for others.
struct TwoInputs {
  const float* first;
  const float* second;
};

inline TwoInputs two_inputs(const char* input, const uint32_t* offsets) {
  static_assert(std::endian::native == std::endian::little);
  uint64_t both;
  std::memcpy(&both, offsets, sizeof both);
  const auto* first = reinterpret_cast<const float*>(input + static_cast<uint32_t>(both));
  const auto* second = reinterpret_cast<const float*>(input + (both >> 32));
  // The whole address in one register: a multiply-add whose operand needs an index register as well is slower.
  asm("" : "+r"(first), "+r"(second));
  return {first, second};
}

template <int T>
inline __attribute__((always_inline)) void add_tap(Vec* sum, const float* from, float weight) {
  const Vec value = broadcast(weight);
#if defined(SPARSE_EXPORT_NEON)
  // Both loads before the multiply-adds: neighbours are one instruction, and one apart from the multiply-add anyway.
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i + 1 < T; i += 2) {
    Vec a = load_aligned(from + i * lanes), b = load_aligned(from + (i + 1) * lanes);
    asm("" : "+w"(a), "+w"(b));
    sum[i] += value * a;
    sum[i + 1] += value * b;
  }
  if constexpr (T % 2 != 0) {
    sum[T - 1] += value * load_aligned(from + (T - 1) * lanes);
  }
#else
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i < T; ++i) {
    sum[i] += value * load_aligned(from + i * lanes);
  }
#endif
}

// sums (+)= sum over taps of value * input[offset ...]; with `out`, the sums are finished instead of stored.
// Few vectors need several sets of accumulators to hide the latency of the multiply-add.
template <int T>
inline __attribute__((always_inline)) void accumulate(const char* input, const uint32_t* offsets, const float* values,
                                                      int64_t taps, float* sums, bool fresh, const Destination* out) {
  constexpr int sets = T >= 8 ? 1 : T >= 4 ? 2 : T >= 2 ? 4 : 8;
  constexpr int step = sets > 4 ? sets : 4;
  Vec sum[sets][T] = {};
  if (!fresh) {
    SPARSE_EXPORT_UNROLL(32)
    for (int i = 0; i < T; ++i) {
      sum[0][i] = load_aligned(sums + i * lanes);
    }
  }
  int64_t tap = 0;
  for (; tap + step <= taps; tap += step) {
    SPARSE_EXPORT_UNROLL(8)
    for (int at = 0; at < step; at += 2) {
      const TwoInputs from = two_inputs(input, offsets + tap + at);
      add_tap<T>(sum[at % sets], from.first, values[tap + at]);
      add_tap<T>(sum[(at + 1) % sets], from.second, values[tap + at + 1]);
    }
  }
  for (; tap < taps; ++tap) {
    add_tap<T>(sum[0], reinterpret_cast<const float*>(input + offsets[tap]), values[tap]);
  }
  SPARSE_EXPORT_UNROLL(8)
  for (int set = 1; set < sets; ++set) {
    SPARSE_EXPORT_UNROLL(32)
    for (int i = 0; i < T; ++i) {
      sum[0][i] += sum[set][i];
    }
  }
  if (out != nullptr) {
    finish_tile<T>(sum[0], *out);
    return;
  }
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i < T; ++i) {
    store_aligned(sums + i * lanes, sum[0][i]);
  }
}

// A tile of bytes, whose rows are handed on as they are summed.
struct Rows {
  Sums sums;
  int64_t first;  // row
  const Run* runs;
  int64_t count;

  void take(int64_t row, const float* floats) const { sums.floats(sums.context, first + row, runs, count, floats); }
};

// All rows of a chunk over one block of columns.
struct Pass {
  const char* input;
  const uint32_t* offsets;
  const float* values;
  const uint32_t* cuts;  // of the first row; rows are `cut_pitch` apart
  int64_t cut_pitch, rows;
  float* sums;  // of the first row; rows are `pitch` apart
  int64_t pitch;
  bool fresh;
  const Destination* out;  // of the first row, in the last pass; null: keep the sums
  const float* scale;
  const float* bias;
  int64_t area;  // distance of two rows of the output
  const Rows* rows_out = nullptr;  // of bytes, in the last pass
};

constexpr int64_t rows_ahead = 4;

// The output of a row some rows ahead: in a net it is seldom in the cache, and stores wait for their lines. A residual
// in the same memory comes with it.
// (Always inline: GCC 12 takes a function that only prefetches for one without effect, and drops the calls.)
template <int T>
inline __attribute__((always_inline)) void prefetch_output(const Destination& out, int64_t distance) {
  SPARSE_EXPORT_UNROLL(32)
  for (int i = 0; i < T; ++i) {
    __builtin_prefetch(out.y + distance + i * out.step, 1);
  }
  if (out.residual != nullptr && out.residual != out.y) {
    SPARSE_EXPORT_UNROLL(32)
    for (int i = 0; i < T; ++i) {
      __builtin_prefetch(out.residual + distance + i * out.step);
    }
  }
}

template <int T>
void add_taps(const Pass& all) {
  const Pass pass = all;  // its own copy: through the reference every store of a vector might change it
  Destination out = pass.out == nullptr ? Destination{} : *pass.out;
  const uint32_t* cut = pass.cuts;
  float* sums = pass.sums;
  for (int64_t row = 0; row < pass.rows; ++row, cut += pass.cut_pitch, sums += pass.pitch) {
    // A row's taps of one block are short and far from those of the next row: the hardware sees no pattern. Always two
    // lines (a loop over their number would be mispredicted more often than it helps); behind the end, the last row's.
    const uint32_t ahead = pass.cuts[smaller(row + rows_ahead, pass.rows - 1) * pass.cut_pitch];
    __builtin_prefetch(pass.offsets + ahead);
    __builtin_prefetch(pass.values + ahead);
    __builtin_prefetch(pass.offsets + ahead + 16);
    __builtin_prefetch(pass.values + ahead + 16);
    if (pass.out != nullptr) {
      if (row + rows_ahead < pass.rows) {
        prefetch_output<T>(out, rows_ahead * pass.area);
      }
      out.scale = pass.scale[row];
      out.bias = pass.bias[row];
    }
    accumulate<T>(pass.input, pass.offsets + cut[0], pass.values + cut[0], static_cast<int64_t>(cut[1]) - cut[0], sums,
                  pass.fresh, pass.out == nullptr ? nullptr : &out);
    if (pass.rows_out != nullptr) {
      pass.rows_out->take(row, sums);
    }
    if (pass.out != nullptr) {
      out.y += pass.area;
      out.residual = out.residual == nullptr ? nullptr : out.residual + pass.area;
    }
  }
}

// Tiles of at most four pixels, of vectors that are longer: a column takes four floats.
inline void add_taps_narrow(const Pass& all) {
  const Pass pass = all;
  typedef float Narrow __attribute__((vector_size(narrow_lanes * 4), may_alias));
  constexpr int sets = 8;
  Destination out = pass.out == nullptr ? Destination{} : *pass.out;
  for (int64_t row = 0; row < pass.rows; ++row) {
    const uint32_t* cut = pass.cuts + row * pass.cut_pitch;
    const uint32_t* offsets = pass.offsets + cut[0];
    const float* values = pass.values + cut[0];
    const int64_t taps = static_cast<int64_t>(cut[1]) - cut[0];
    Narrow sum[sets] = {};
    const auto add = [&](int64_t tap, int set) {
      const float value = values[tap];
      sum[set] += Narrow{value, value, value, value} * *reinterpret_cast<const Narrow*>(pass.input + offsets[tap]);
    };
    int64_t tap = 0;
    for (; tap + sets <= taps; tap += sets) {
      __builtin_prefetch(values + tap + 512);
      SPARSE_EXPORT_UNROLL(8)
      for (int set = 0; set < sets; ++set) {
        add(tap + set, set);
      }
    }
    for (; tap < taps; ++tap) {
      add(tap, 0);
    }
    const Narrow all = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
    float* sums = pass.sums + row * pass.pitch;
    Vec total = pass.fresh ? Vec{} : load_aligned(sums);
    for (int64_t i = 0; i < narrow_lanes; ++i) {
      total[i] += all[i];
    }
    if (pass.out == nullptr) {
      store_aligned(sums, total);
      continue;
    }
    out.scale = pass.scale[row];
    out.bias = pass.bias[row];
    finish_tile<1>(&total, out);
    out.y += pass.area;
    out.residual = out.residual == nullptr ? nullptr : out.residual + pass.area;
  }
}

using AddTaps = void (*)(const Pass&);

template <int... T>
AddTaps add_taps_table(int64_t vectors, std::integer_sequence<int, T...>) {
  static constexpr AddTaps table[] = {add_taps<T + 1>...};
  return table[vectors - 1];
}

// The loop for tiles of this many vectors.
inline AddTaps add_taps_of(int64_t vectors) {
  return add_taps_table(vectors, std::make_integer_sequence<int, max_tile>());
}

}  // namespace
}  // namespace sparse_export::f32_csr
