// Weights under a mask times a few rows of X: what counts is how fast the weights come from memory, so their bytes are
// read as they are in the file, each once, and spread to vectors of columns on the way.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 finds them in its own intrinsics (bug 105593)
#endif
#include "chosen.h"
#include "core/epilogue_vector.h"
#include "core/scratch.h"
#include "expand.h"

namespace sparse_export::f32_masked {
namespace {

constexpr int64_t near_bytes = 64 << 10;  // of X, that may pass for every row of the weights
constexpr int64_t chunks = 64 / lanes;    // of a mask word

// sum[p] += products of one segment with `Pixels` rows of X.
template <int Pixels>
void add_segment(const uint8_t* mask, int64_t words, const float* values, const float* x, int64_t pitch, float* sum) {
  constexpr int ways = Pixels == 1 ? 4 : Pixels == 2 ? 2 : 1;  // sums that do not wait for each other
  Vec acc[Pixels][ways] = {};
  for (int64_t word = 0; word < words; ++word, x += 64) {
    const Word columns(mask + word * 8, values);
#if defined(__x86_64__)
    // Into the second cache: X fills the first. A word has two lines of values on average, and seldom over three.
    const auto* ahead = reinterpret_cast<const char*>(values) + 8192;
    _mm_prefetch(ahead, _MM_HINT_T1);
    _mm_prefetch(ahead + 64, _MM_HINT_T1);
    _mm_prefetch(ahead + 128, _MM_HINT_T1);
#endif
    SPARSE_EXPORT_UNROLL(16)
    for (int64_t i = 0; i < chunks; ++i) {
      const Vec weight = columns.expand(static_cast<int>(i * lanes));
      SPARSE_EXPORT_UNROLL(8)
      for (int p = 0; p < Pixels; ++p) {
        acc[p][i % ways] += weight * load(x + p * pitch + i * lanes);
      }
    }
    values += columns.count();
  }
  for (int p = 0; p < Pixels; ++p) {
    Vec all = acc[p][0];
    for (int i = 1; i < ways; ++i) {
      all += acc[p][i];
    }
    sum[p] += sum_of(all);
  }
}

void add_pixels(const uint8_t* mask, int64_t words, const float* values, const Input& input, int64_t first,
                int64_t pixels, float* sum) {
  const float* x = input.x + first;
  int64_t p = 0;
  for (; p + 8 <= pixels; p += 8) {
    add_segment<8>(mask, words, values, x + p * input.pitch, input.pitch, sum + p);
  }
  for (; p + 4 <= pixels; p += 4) {
    add_segment<4>(mask, words, values, x + p * input.pitch, input.pitch, sum + p);
  }
  for (; p + 2 <= pixels; p += 2) {
    add_segment<2>(mask, words, values, x + p * input.pitch, input.pitch, sum + p);
  }
  if (p < pixels) {
    add_segment<1>(mask, words, values, x + p * input.pitch, input.pitch, sum + p);
  }
}

// False where X is not finite: a weight that is zero takes no part, but 0 x infinity is not zero.
bool copy_input(const Call& call, int64_t pitch, float* to) {
  const int64_t columns = call.weights.columns;
  Vec sum{};
  for (int64_t p = 0; p < call.size.batch; ++p, to += pitch) {
    std::memcpy(to, call.x + p * columns, static_cast<size_t>(columns) * 4);
    std::memset(to + columns, 0, static_cast<size_t>(pitch - columns) * 4);
    for (int64_t i = 0; i < pitch; i += lanes) {
      sum += load(to + i) * Vec{};
    }
  }
  float all = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    all += sum[lane];
  }
  return all == 0;
}

bool run_block(const Call& call, int64_t first_row, int64_t last_row) {
  thread_local Scratch scratch;
  const Weights& weights = call.weights;
  const int64_t pixels = call.size.batch, pitch = ceil_div(weights.columns, 64) * 64, rows = last_row - first_row;
  auto* x = reinterpret_cast<float*>(scratch.reserve(static_cast<size_t>((pitch + rows) * pixels) * 4));
  if (x == nullptr) {
    return false;
  }
  if (!copy_input(call, pitch, x)) {
    return reference.run(call, first_row, last_row);
  }
  float* sum = x + pitch * pixels;
  std::memset(sum, 0, static_cast<size_t>(rows * pixels) * 4);
  const Input input{x, pitch};
  Segment segment;
  const auto add = [&](int64_t row, int64_t number) {
    const int64_t first = number * segment_columns, count = smaller(weights.columns - first, segment_columns);
    const float* values = values_of(weights, row, number, segment);
    float* to = sum + (row - first_row) * pixels;
    const int64_t done = add_chosen(weights, row, number, segment, values, input, pixels, to);
    if (done < count) {
      const uint8_t* mask = mask_of(weights, row, number, segment);
      add_pixels(mask + done / 8, ceil_div(count - done, 64), values + done / 2, input, first + done, pixels, to);
    }
  };
  // Weights in the order of memory, where X stays close; otherwise a part of X at a time.
  const int64_t step = pitch * pixels * 4 <= near_bytes ? weights.segments() : 1;
  for (int64_t from = 0; from < weights.segments(); from += step) {
    for (int64_t row = first_row; row < last_row; ++row) {
      for (int64_t number = from; number < smaller(from + step, weights.segments()); ++number) {
        add(row, number);
      }
    }
  }
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t row = first_row; row < last_row; ++row) {
      const int64_t at = p * weights.rows + row;
      call.y[at] = finish(call.epilogue, row, sum[(row - first_row) * pixels + p], at);
    }
  }
  return true;
}

// A block of rows of X at a time: their copies, and the sums, are scratch.
bool run_rows(const Call& call, int64_t first_row, int64_t last_row) noexcept {
  constexpr int64_t most = 64;
  Call block = call;
  for (int64_t first = 0; first < call.size.batch; first += most) {
    block.size.batch = smaller(call.size.batch - first, most);
    block.x = call.x + first * call.weights.columns;
    block.y = call.y + first * call.weights.rows;
    if (!run_block(block, first_row, last_row)) {
      return false;
    }
  }
  return true;
}

}  // namespace

extern const Kernels SPARSE_EXPORT_TARGET_NAME = {run_rows};

}  // namespace sparse_export::f32_masked
