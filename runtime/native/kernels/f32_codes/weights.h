// Weights of few values: codes of four bits, each for the same one, two or four columns of a row.
//
// The sixteen sums that a code can stand for, of the inputs under its columns, fit the registers that a permutation
// looks up, so a code is one look-up for every column it covers: four 1-bit weights, two of three or four values, one
// of up to sixteen. Components are read into this stream once, when a session is created: it is as large as they are
// (at most a third larger), where the rows of a file would have to be turned around on every run.
#pragma once

#include "core/memory.h"
#include "core/tensor.h"
#include "kernels/f32_csr/weights.h"

namespace sparse_export::f32_codes {

constexpr int64_t word_codes = 8;   // of one row, in 32 bits, the first in the lowest
constexpr int64_t group_rows = 16;  // whose words lie side by side
constexpr int64_t block_words = 8;  // of a row, before those of the next rows
constexpr int64_t block_codes = block_words * word_codes;
constexpr int64_t most_span = 4;

// odd: what 8 + i stands for is minus what i stands for; half: there are no codes above 7.
enum class Kind { odd, half, full };

// Where a stream of codes lies: [block][group of rows][word][row], every convolution group's rows filled up to 16.
struct Weights {
  int64_t rows = 0, columns = 0, groups = 1;  // groups of the convolution
  int64_t entries = 0;                        // that are not zero
  int64_t span = 1;                           // columns of a code
  Kind kind = Kind::full;
  float value[16][most_span] = {};  // of every column of a code
  Array<uint32_t> memory;

  SPARSE_EXPORT_INLINE int64_t words() const { return (columns + word_codes * span - 1) / (word_codes * span); }
  SPARSE_EXPORT_INLINE int64_t groups_of_rows() const { return (rows / groups + group_rows - 1) / group_rows; }

  // First word of a block, of the group of 16 rows that `row` of a convolution group lies in.
  SPARSE_EXPORT_INLINE const uint32_t* at(int64_t block, int64_t group, int64_t row) const {
    const int64_t all = groups * groups_of_rows(), left = words() - block * block_words;
    const int64_t number = group * groups_of_rows() + row / group_rows;
    return memory.get() + (block * block_words * all + number * (left < block_words ? left : block_words)) * group_rows;
  }

  // The first word of a block of one row; the next ones follow 16 further on each.
  SPARSE_EXPORT_INLINE const uint32_t* row_at(int64_t block, int64_t row) const {
    const int64_t of_group = rows / groups, in_group = row % of_group;
    return at(block, row / of_group, in_group) + in_group % group_rows;
  }

  // The word of one row: of columns [word x 8 x span, ...).
  SPARSE_EXPORT_INLINE const uint32_t& word(int64_t row, int64_t word) const {
    return row_at(word / block_words, row)[word % block_words * group_rows];
  }
  SPARSE_EXPORT_INLINE uint32_t code(int64_t row, int64_t column) const {
    const int64_t number = column / span;
    return word(row, number / word_codes) >> (number % word_codes * 4) & 15;
  }
  SPARSE_EXPORT_INLINE float weight(int64_t row, int64_t column) const {
    return value[code(row, column)][column % span];
  }
};

// Takes the component `bits`, signs of every weight, and checks every invariant.
Weights read_bits(const std::vector<Tensor>& components, int64_t rows, int64_t columns, int64_t groups);

// Rows whose values are +1 and -1 (int8).
Weights read_signs(const f32_csr::Weights& entries, int64_t groups);

// Takes `indices` and `table` of a codebook of up to 16 values, and checks every invariant.
Weights read_codebook(const std::vector<Tensor>& components, int64_t rows, int64_t columns, int64_t groups);

}  // namespace sparse_export::f32_codes
