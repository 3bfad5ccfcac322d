// A call computed by f32_csr, to the same bits: where a processor has no instruction for dot products of bytes, four
// multiply-adds of floats take less than what stands in for one.
//
// Sums of products of bytes are whole numbers, which float32 holds exactly up to 2^24. f32_csr turns bytes into floats as it
// brings them into order, and hands the sums on to this kernel's epilogue: what lies between layers stays bytes.
#pragma once

#include "call.h"

namespace sparse_export::s8_csr {

// What is known of rows when a session is created.
struct RowSums {
  std::vector<int32_t> all;   // of the weights of each row; wraps around
  std::vector<int64_t> most;  // of those above zero, or below: the larger sum
};

// Throws unless the values are int8.
RowSums row_sums(const f32_csr::Weights& csr);

// Whether some sum, or a bias, may pass what float32 holds exactly. `biases` as in Requantization.
bool is_wide(const RowSums& sums, const std::vector<int32_t>& biases);

// As `run`, with rows in the place of the call's weights.
void run_in_floats(const Pool& pool, size_t threads, const Call& call, const f32_csr::Weights& csr, bool wide);

}  // namespace sparse_export::s8_csr
