// The definition: plain loops over the weights that there are.
#include "call.h"

namespace sparse_export::f32_masked {
namespace {

float value_at(const Tensor& values, int64_t i) {
  switch (values.type) {
    case element_float16:
      return values.as<Float16>()[i];
    case element_bfloat16:
      return values.as<BFloat16>()[i];
    case element_int8:
      return values.as<int8_t>()[i];
    default:
      return values.as<float>()[i];
  }
}

// visit(column, value) for the values of a row that are not zero.
template <class Visit>
void walk_row(const Weights& weights, int64_t row, Visit&& visit) {
  const int64_t at = row * weights.row_bits();
  int64_t value = weights.begin(row, 0);
  const auto bits = [&](int64_t i, int64_t width) {
    return weights.mask[i / 8] >> (i % 8) & ((1 << width) - 1);  // two bits never lie in two bytes
  };
  if (weights.chosen == 0) {
    for (int64_t column = 0; column < weights.columns; ++column) {
      if (bits(at + column, 1) != 0) {
        visit(column, value_at(weights.values, value++));
      }
    }
    return;
  }
  for (int64_t i = 0; i < (weights.columns + 3) / 4 * weights.chosen; ++i) {
    const float found = value_at(weights.values, value + i);
    const int64_t column = i / weights.chosen * 4 + bits(at + i * 2, 2);
    if (found != 0 && column < weights.columns) {
      visit(column, found);
    }
  }
}

bool run_rows(const Call& call, int64_t first_row, int64_t last_row) noexcept {
  for (int64_t row = first_row; row < last_row; ++row) {
    for (int64_t p = 0; p < call.size.batch; ++p) {
      const float* x = call.x + p * call.weights.columns;
      double sum = 0;
      walk_row(call.weights, row, [&](int64_t column, float value) { sum += double{value} * double{x[column]}; });
      const int64_t at = p * call.weights.rows + row;
      call.y[at] = finish(call.epilogue, row, static_cast<float>(sum), at);
    }
  }
  return true;
}

}  // namespace

const Kernels reference = {run_rows};

}  // namespace sparse_export::f32_masked
