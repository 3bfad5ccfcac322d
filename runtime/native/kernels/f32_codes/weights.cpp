#include "weights.h"

#include <cstring>
#include <new>

#include "kernels/bit/weights.h"
#include "kernels/rows/parts.h"

namespace sparse_export::f32_codes {
namespace {

// The stream with all codes 0, and a register's room behind it: look-ups read a few bytes further.
void allocate(Weights& weights, int64_t rows, int64_t columns, int64_t groups, int64_t span) {
  weights.rows = rows;
  weights.columns = columns;
  weights.groups = groups;
  weights.span = span;
  const auto count = static_cast<size_t>((groups * weights.groups_of_rows() * weights.words() + 1) * group_rows);
  weights.memory = zeros<uint32_t>(count);
}

// The words of one row, one after the other.
class Row {
 public:
  Row(Weights& weights, int64_t row) : weights_(weights), row_(row) {}

  void set(int64_t word, uint32_t codes) { const_cast<uint32_t&>(weights_.word(row_, word)) = codes; }
  void add(int64_t number, uint32_t code) {
    const_cast<uint32_t&>(weights_.word(row_, number / word_codes)) |= code << (number % word_codes * 4);
  }

 private:
  Weights& weights_;
  int64_t row_;
};

void make_odd(Weights& weights) {
  weights.kind = Kind::odd;
  for (int64_t code = 0; code < 8; ++code) {
    for (int64_t column = 0; column < most_span; ++column) {
      weights.value[8 + code][column] = -weights.value[code][column];
    }
  }
}

float value_at(const Tensor& table, int64_t i) {
  switch (table.type) {
    case element_float16:
      return table.as<Float16>()[i];
    case element_bfloat16:
      return table.as<BFloat16>()[i];
    case element_int8:
      return table.as<int8_t>()[i];
    default:
      return table.as<float>()[i];
  }
}

}  // namespace

Weights read_bits(const std::vector<Tensor>& components, int64_t rows, int64_t columns, int64_t groups) {
  const bit::Weights bits = bit::read_weights(components, rows, columns);
  Weights weights;
  allocate(weights, rows, columns, groups, 4);
  for (int64_t code = 0; code < 8; ++code) {
    for (int64_t column = 0; column < 3; ++column) {
      weights.value[code][column] = (code >> column & 1) != 0 ? -1.0F : 1.0F;
    }
    weights.value[code][3] = 1;
  }
  make_odd(weights);
  weights.entries = rows * columns;
  const int64_t bytes = bits.row_bytes();
  for (int64_t k = 0; k < rows; ++k) {
    Row row(weights, k);
    for (int64_t word = 0; word < weights.words(); ++word) {
      uint32_t codes = 0;
      std::memcpy(&codes, bits.row(k) + word * 4, static_cast<size_t>(bytes - word * 4 < 4 ? bytes - word * 4 : 4));
      // Where the fourth weight is negative, the code says so and stands for minus the others turned around.
      codes ^= (codes >> 3 & 0x11111111U) * 7;
      row.set(word, codes);
    }
  }
  return weights;
}

Weights read_signs(const f32_csr::Weights& entries, int64_t groups) {
  Weights weights;
  allocate(weights, entries.rows, entries.columns, groups, 2);
  constexpr float pairs[5][2] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}, {1, -1}};
  for (int64_t code = 0; code < 5; ++code) {
    std::memcpy(weights.value[code], pairs[code], sizeof pairs[code]);
  }
  make_odd(weights);
  // By digits of the pair: 0, 1 for +1, 2 for -1.
  constexpr uint8_t codes[9] = {0, 1, 9, 2, 3, 12, 10, 4, 11};
  const auto* values = entries.values.as<int8_t>();
  f32_csr::with_types(entries, [&](const auto* gaps, const auto*) {
    for (int64_t k = 0; k < entries.rows; ++k) {
      Row row(weights, k);
      int64_t column = -1, pair = 0;
      uint32_t digits = 0;
      for (int64_t i = entries.begin(k); i < entries.begin(k + 1); ++i) {
        column += 1 + int64_t{gaps[i]};
        if (column / 2 != pair) {
          row.add(pair, codes[digits]);
          pair = column / 2;
          digits = 0;
        }
        const uint32_t digit = values[i] == 0 ? 0 : values[i] > 0 ? 1 : 2;
        weights.entries += digit != 0 ? 1 : 0;
        digits += column % 2 == 0 ? digit : digit * 3;
      }
      row.add(pair, codes[digits]);
    }
  });
  return weights;
}

Weights read_codebook(const std::vector<Tensor>& components, int64_t rows, int64_t columns, int64_t groups) {
  const Tensor& table = components[1];
  rows::check_table(table);
  require(table.count <= 16, "input 'table' must have 1 to 16 entries");
  const rows::Planes indices = rows::read_indices(components[0], rows * columns, table.count);
  const int64_t bits = table.count <= 2 ? 1 : table.count <= 4 ? 2 : 4, span = 4 / bits;
  Weights weights;
  allocate(weights, rows, columns, groups, span);
  weights.kind = span == 1 && table.count <= 8 ? Kind::half : Kind::full;
  for (int64_t code = 0; code < 16; ++code) {
    for (int64_t column = 0; column < span; ++column) {
      const int64_t index = code >> (column * bits) & ((1 << bits) - 1);
      weights.value[code][column] = index < table.count ? value_at(table, index) : 0;
    }
  }
  int64_t used[16] = {};
  for (int64_t i = 0; i < table.count; ++i) {
    used[i] = value_at(table, i) != 0 ? 1 : 0;
  }
  int64_t at = 0;
  uint8_t eight[8] = {};
  for (int64_t k = 0; k < rows; ++k) {
    Row row(weights, k);
    uint32_t codes = 0;
    const int64_t of_word = word_codes * span;
    for (int64_t column = 0; column < columns; ++column, ++at) {
      if (column == 0 || at % 8 == 0) {
        indices.eight(at / 8, eight);
      }
      codes |= uint32_t{eight[at % 8]} << (column % of_word * bits);
      weights.entries += used[eight[at % 8]];
      if (column % of_word == of_word - 1 || column == columns - 1) {
        row.set(column / of_word, codes);
        codes = 0;
      }
    }
  }
  return weights;
}

}  // namespace sparse_export::f32_codes
