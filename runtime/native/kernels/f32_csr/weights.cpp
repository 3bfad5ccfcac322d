#include "weights.h"

namespace sparse_export::f32_csr {
namespace {

void check_row_pointers(const Weights& weights) {
  require(weights.begin(0) == 0, "'indptr' does not start at 0");
  int64_t previous = 0;
  for (int64_t row = 1; row <= weights.rows; ++row) {
    const int64_t next = weights.begin(row);
    require(next >= previous, "'indptr' falls");
    previous = next;
  }
  require(previous == weights.entries, "'indptr' does not end at the number of entries");
}

template <class Gap>
void check_columns(const Weights& weights, const Gap* gaps) {
  for (int64_t row = 0; row < weights.rows; ++row) {
    const int64_t begin = weights.begin(row);
    const int64_t end = weights.begin(row + 1);
    // A row cannot hold more entries than columns, so the sum below stays under 2^31 * 2^32.
    require(end - begin <= weights.columns, "'indptr': a row has more entries than columns");
    int64_t width = end - begin;
    for (int64_t entry = begin; entry < end; ++entry) {
      width += gaps[entry];
    }
    require(width <= weights.columns, "'gaps' run past the last column");
  }
}

}  // namespace

void check_weights(const Weights& weights) {
  const int pointer_type = weights.indptr.type;
  require(pointer_type == element_uint16 || pointer_type == element_uint32 || pointer_type == element_uint64,
          "'indptr' must be uint16, uint32 or uint64");
  const int gap_type = weights.gaps.type;
  require(gap_type == element_uint8 || gap_type == element_uint16 || gap_type == element_uint32,
          "'gaps' must be uint8, uint16 or uint32");
  const int value_type = weights.values.type;
  require(value_type == element_float || value_type == element_float16 || value_type == element_bfloat16 ||
              value_type == element_int8,
          "'values' must be float32, float16, bfloat16 or int8");
  require(weights.indptr.shape.size() == 1 && weights.gaps.shape.size() == 1 && weights.values.shape.size() == 1,
          "'indptr', 'gaps' and 'values' must have one dimension");
  require(weights.indptr.count == weights.rows + 1, "'indptr' must have one element more than the weight has rows");
  require(weights.gaps.count == weights.values.count, "'gaps' and 'values' differ in length");
  check_row_pointers(weights);
  switch (gap_type) {
    case element_uint8:
      return check_columns(weights, weights.gaps.as<uint8_t>());
    case element_uint16:
      return check_columns(weights, weights.gaps.as<uint16_t>());
    default:
      return check_columns(weights, weights.gaps.as<uint32_t>());
  }
}

Weights read_weights(const std::vector<Tensor>& components, int64_t rows, int64_t columns) {
  const Weights weights{rows, columns, components[2].count, components[0], components[1], components[2]};
  check_weights(weights);
  return weights;
}

}  // namespace sparse_export::f32_csr
