// Random weights in every format that is read as rows, encoded as the formats' descriptions say.
#include <algorithm>
#include <cmath>

#include "layer.h"
#include "layer_weights.h"

namespace fuzz {
namespace {

struct Entry {
  int64_t row, column;
};

int64_t bytes_of(int64_t bits) { return (bits + 7) / 8; }

void set_bit(std::vector<uint8_t>& bits, int64_t i) {
  bits[static_cast<size_t>(i / 8)] |= static_cast<uint8_t>(1 << i % 8);
}

std::vector<Entry> random_entries(Random& random, const Layer& layer, double density) {
  std::vector<Entry> entries;
  std::geometric_distribution<int64_t> distance(density);
  for (int64_t row = 0; row < layer.rows; ++row) {
    if (chance(random, 5)) {
      continue;  // an empty row
    }
    for (int64_t at = distance(random); at < layer.row_columns() && at >= 0; at += 1 + distance(random)) {
      entries.push_back({row, at});
    }
  }
  return entries;
}

void set_entries(Layer& layer, const std::vector<Entry>& entries, const std::vector<float>& values) {
  layer.first.assign(static_cast<size_t>(layer.rows) + 1, 0);
  layer.columns.clear();
  for (const Entry& entry : entries) {
    ++layer.first[static_cast<size_t>(entry.row) + 1];
    layer.columns.push_back(entry.column);
  }
  for (size_t row = 1; row < layer.first.size(); ++row) {
    layer.first[row] += layer.first[row - 1];
  }
  layer.values = values;
}

Buffer planes_of(const std::vector<uint32_t>& numbers, int64_t width) {
  const int64_t bytes = bytes_of(static_cast<int64_t>(numbers.size()));
  std::vector<uint8_t> bits(static_cast<size_t>(width * bytes));
  for (size_t i = 0; i < numbers.size(); ++i) {
    for (int64_t plane = 0; plane < width; ++plane) {
      if ((numbers[i] >> plane & 1) != 0) {
        set_bit(bits, plane * bytes * 8 + static_cast<int64_t>(i));
      }
    }
  }
  return buffer_of(2, bits, {width, bytes});
}

Buffer gaps_of(Random& random, const Layer& layer, const std::vector<Entry>& entries) {
  const int64_t width = layer.row_columns() > 2000 ? 8 : uniform(random, 2, 8);
  const int64_t escape = (1 << width) - 1;
  std::vector<uint32_t> codes;
  int64_t next = 0;
  for (const Entry& entry : entries) {
    const int64_t at = entry.row * layer.row_columns() + entry.column;
    int64_t gap = at - next;
    for (; gap >= escape; gap -= escape) {
      codes.push_back(static_cast<uint32_t>(escape));
    }
    codes.push_back(static_cast<uint32_t>(gap));
    next = at + 1;
  }
  while (codes.size() % 8 != 0) {
    codes.push_back(static_cast<uint32_t>(escape));
  }
  return planes_of(codes, width);
}

Buffer mask_of(const Layer& layer, const std::vector<Entry>& entries) {
  std::vector<uint8_t> bits(static_cast<size_t>(bytes_of(layer.rows * layer.row_columns())));
  for (const Entry& entry : entries) {
    set_bit(bits, entry.row * layer.row_columns() + entry.column);
  }
  return buffer_of(2, bits, {static_cast<int64_t>(bits.size())});
}

Buffer signs_of(Random& random, std::vector<float>& values) {
  std::vector<uint8_t> bits(static_cast<size_t>(bytes_of(static_cast<int64_t>(values.size()))));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = chance(random, 50) ? -1.0F : 1.0F;
    if (values[i] < 0) {
      set_bit(bits, static_cast<int64_t>(i));
    }
  }
  return buffer_of(2, bits, {static_cast<int64_t>(bits.size())});
}

int64_t index_width(int64_t count) {
  int64_t width = 1;
  while (count > int64_t{1} << width) {
    ++width;
  }
  return width;
}

// A table of up to 256 values; `numbers` become what the indices pick.
std::vector<Buffer> look_up(Random& random, size_t count, bool with_zero, std::vector<uint32_t>& indices,
                            std::vector<float>& table) {
  table.assign(static_cast<size_t>(pick<int64_t>(random, {1, 2, 3, 9, 16, 17, 200, 256})), 1);
  if (with_zero) {
    table[0] = 0;
  }
  Buffer values = random_values(random, table);
  indices.resize(count);
  for (uint32_t& index : indices) {
    index = static_cast<uint32_t>(random() % table.size());
  }
  std::vector<Buffer> packed;
  packed.push_back(planes_of(indices, index_width(static_cast<int64_t>(table.size()))));
  packed.push_back(std::move(values));
  return packed;
}

std::vector<Buffer> random_codebook(Random& random, Layer& layer) {
  std::vector<uint32_t> indices;
  std::vector<float> table, values;
  const auto size = static_cast<size_t>(layer.rows * layer.row_columns());
  std::vector<Buffer> packed = look_up(random, size, chance(random, 50), indices, table);
  std::vector<Entry> entries;
  for (size_t i = 0; i < size; ++i) {
    if (table[indices[i]] != 0) {
      const auto at = static_cast<int64_t>(i);
      entries.push_back({at / layer.row_columns(), at % layer.row_columns()});
      values.push_back(table[indices[i]]);
    }
  }
  set_entries(layer, entries, values);
  return packed;
}

std::vector<Buffer> random_palette(Random& random, Layer& layer, const std::vector<Entry>& entries) {
  std::vector<uint32_t> indices;
  std::vector<float> table, values;
  std::vector<Buffer> packed;
  packed.push_back(gaps_of(random, layer, entries));
  for (Buffer& part : look_up(random, entries.size(), false, indices, table)) {
    packed.push_back(std::move(part));
  }
  for (const uint32_t index : indices) {
    values.push_back(table[index]);
  }
  set_entries(layer, entries, values);
  return packed;
}

std::vector<Buffer> random_ternary(Random& random, Layer& layer, const std::vector<Entry>& entries) {
  const int64_t bytes = (layer.row_columns() + 4) / 5;
  constexpr int powers[] = {1, 3, 9, 27, 81};
  std::vector<uint8_t> trits(static_cast<size_t>(layer.rows * bytes));
  std::vector<float> values;
  for (const Entry& entry : entries) {
    const int digit = static_cast<int>(uniform(random, 1, 2));
    trits[static_cast<size_t>(entry.row * bytes + entry.column / 5)] +=
        static_cast<uint8_t>(digit * powers[entry.column % 5]);
    values.push_back(digit == 1 ? 1.0F : -1.0F);
  }
  set_entries(layer, entries, values);
  std::vector<Buffer> packed;
  packed.push_back(buffer_of(2, trits, {layer.rows, bytes}));
  return packed;
}

std::vector<Buffer> random_split(Random& random, Layer& layer, const std::vector<Entry>& entries) {
  const size_t count = entries.size();
  std::vector<float> table, values;
  const int lowest = static_cast<int>(uniform(random, -6, 0));
  for (int exponent = lowest; exponent <= 2; ++exponent) {
    table.push_back(std::ldexp(1.0F, exponent - 23));
  }
  std::vector<uint8_t> low(3 * count);
  std::vector<uint32_t> indices;
  for (size_t i = 0; i < count; ++i) {
    const auto mantissa = static_cast<uint32_t>(random() & 0x7FFFFF);
    const bool negative = chance(random, 50);
    indices.push_back(static_cast<uint32_t>(random() % table.size()));
    const uint32_t number = mantissa | (negative ? 1U << 23 : 0);
    for (size_t plane = 0; plane < 3; ++plane) {
      low[plane * count + i] = static_cast<uint8_t>(number >> 8 * plane);
    }
    const float magnitude = static_cast<float>(mantissa + (1U << 23)) * table[indices.back()];
    values.push_back(negative ? -magnitude : magnitude);
  }
  set_entries(layer, entries, values);
  std::vector<Buffer> packed;
  packed.push_back(gaps_of(random, layer, entries));
  packed.push_back(buffer_of(2, low, {3, static_cast<int64_t>(count)}));
  packed.push_back(planes_of(indices, index_width(static_cast<int64_t>(table.size()))));
  packed.push_back(buffer_of(1, table, {static_cast<int64_t>(table.size())}));
  return packed;
}

// Every value that the components hold, where it lies in the matrix; zeros are no entries.
struct Slot {
  int64_t row, column;
  size_t value;
};

void set_slots(Layer& layer, std::vector<Slot> slots, const std::vector<float>& stored) {
  std::sort(slots.begin(), slots.end(),
            [](const Slot& a, const Slot& b) { return a.row != b.row ? a.row < b.row : a.column < b.column; });
  std::vector<Entry> entries;
  std::vector<float> values;
  for (const Slot& slot : slots) {
    if (stored[slot.value] != 0) {
      entries.push_back({slot.row, slot.column});
      values.push_back(stored[slot.value]);
    }
  }
  set_entries(layer, entries, values);
}

std::vector<Buffer> random_nm(Random& random, Layer& layer) {
  const int64_t taps = layer.kernel[0] * layer.kernel[1], groups = (layer.channels + 3) / 4;
  const int64_t chosen = uniform(random, 1, 2), count = layer.rows * taps * groups * chosen;
  std::vector<uint8_t> places(static_cast<size_t>((count + 3) / 4));
  std::vector<float> stored(static_cast<size_t>(count), 0);
  std::vector<Slot> slots;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t group = i / chosen % groups, tap = i / chosen / groups % taps, row = i / chosen / groups / taps;
    const int64_t place = chosen == 1  ? uniform(random, 0, 3)
                          : i % 2 == 0 ? uniform(random, 0, 1)
                                       : uniform(random, 2, 3);
    places[static_cast<size_t>(i / 4)] |= static_cast<uint8_t>(place << (i % 4 * 2));
    if (group * 4 + place < layer.channels && chance(random, 90)) {
      stored[static_cast<size_t>(i)] = 1;
      slots.push_back({row, (group * 4 + place) * taps + tap, static_cast<size_t>(i)});
    }
  }
  Buffer values = random_values(random, stored);
  values.shape = {count / chosen, chosen};
  set_slots(layer, std::move(slots), stored);
  std::vector<Buffer> packed;
  packed.push_back(std::move(values));
  packed.push_back(buffer_of(2, places, {static_cast<int64_t>(places.size())}));
  return packed;
}

std::vector<Buffer> random_bsr(Random& random, Layer& layer) {
  const int64_t height = pick<int64_t>(random, {1, 2, 4, 8, 16}), width = pick<int64_t>(random, {1, 2, 4});
  const int64_t block_rows = (layer.rows + height - 1) / height;
  const int64_t block_columns = (layer.row_columns() + width - 1) / width;
  std::vector<uint32_t> indptr{0}, gaps;
  std::vector<float> stored;
  std::vector<Slot> slots;
  for (int64_t block_row = 0; block_row < block_rows; ++block_row) {
    int64_t before = -1;
    for (int64_t block = 0; block < block_columns; ++block) {
      if (!chance(random, 20)) {
        continue;
      }
      gaps.push_back(static_cast<uint32_t>(block - before - 1));
      before = block;
      for (int64_t i = 0; i < height * width; ++i) {
        const int64_t row = block_row * height + i / width, column = block * width + i % width;
        const bool inside = row < layer.rows && column < layer.row_columns();
        stored.push_back(inside && chance(random, 95) ? 1.0F : 0.0F);
        if (inside) {
          slots.push_back({row, column, stored.size() - 1});
        }
      }
    }
    indptr.push_back(static_cast<uint32_t>(gaps.size()));
  }
  Buffer values = random_values(random, stored);
  values.shape = {static_cast<int64_t>(gaps.size()), height, width};
  set_slots(layer, std::move(slots), stored);
  std::vector<Buffer> packed;
  packed.push_back(buffer_of(12, indptr, {static_cast<int64_t>(indptr.size())}));
  packed.push_back(buffer_of(12, gaps, {static_cast<int64_t>(gaps.size())}));
  packed.push_back(std::move(values));
  return packed;
}

}  // namespace

std::vector<Buffer> random_rows(Random& random, Layer& layer, const std::string& format) {
  if (format == "codebook") {
    return random_codebook(random, layer);
  }
  if (format == "nm") {
    return random_nm(random, layer);
  }
  if (format == "bsr") {
    return random_bsr(random, layer);
  }
  const auto columns = static_cast<double>(layer.row_columns());
  const double density = columns > 2000 ? 20 / columns : pick(random, {0.01, 0.05, 0.1, 0.3, 0.6});
  const std::vector<Entry> entries = random_entries(random, layer, density);
  if (format == "palette") {
    return random_palette(random, layer, entries);
  }
  if (format == "ternary") {
    return random_ternary(random, layer, entries);
  }
  if (format == "split") {
    return random_split(random, layer, entries);
  }
  std::vector<float> values(entries.size(), 1);
  std::vector<Buffer> packed;
  const bool mask = format == "bitmask" || format == "signmask";
  packed.push_back(mask ? mask_of(layer, entries) : gaps_of(random, layer, entries));
  const bool signs = format == "signmask" || format == "signgaps";
  packed.push_back(signs ? signs_of(random, values) : random_values(random, values));
  set_entries(layer, entries, values);
  return packed;
}

}  // namespace fuzz
