// `nm`: one or two values of every four input channels, and their places; channels lie last, inside every tap.
#include <algorithm>

#include "parts.h"

namespace sparse_export::rows {
namespace {

// Bytes [groups * N] of 2-bit places, four to a byte.
int64_t place_at(const uint8_t* places, int64_t i) { return places[i / 4] >> (i % 4 * 2) & 3; }

void check_places(const Tensor& places, int64_t count, int64_t chosen) {
  check_bits(places, {(count + 3) / 4}, count * 2, "input 'places' must be uint8 with two bits for each value",
             "input 'places': padding bits must be zero");
  for (int64_t i = 0; chosen == 2 && i < count; i += 2) {
    require(place_at(places.as<uint8_t>(), i) < place_at(places.as<uint8_t>(), i + 1),
            "input 'places' must ascend within a group");
  }
}

}  // namespace

void check_nm(const std::vector<Tensor>& components, const Extent& extent) {
  const Tensor &values = components[0], &places = components[1];
  const int64_t of_tap = (extent.channels + 3) / 4, of_row = of_tap * extent.taps;
  require(values.shape.size() == 2 && values.shape[0] == extent.rows * of_row && values.shape[1] >= 1 &&
              values.shape[1] <= 2,
          "input 'values' must have shape [groups of four channels, 1 or 2]");
  const int64_t chosen = values.shape[1];
  check_places(places, values.count, chosen);
  const auto* bytes = static_cast<const uint8_t*>(values.data);
  const int64_t width = value_bytes(values, "input 'values' must be float32, float16, bfloat16 or int8");
  // Of every tap the last group.
  for (int64_t group = of_tap - 1; group < extent.rows * of_row && extent.channels % 4 != 0; group += of_tap) {
    for (int64_t i = group * chosen; i < (group + 1) * chosen; ++i) {
      const bool zero = std::all_of(bytes + i * width, bytes + (i + 1) * width, [](uint8_t byte) { return byte == 0; });
      require(zero || place_at(places.as<uint8_t>(), i) < extent.channels % 4,
              "input 'values' outside the channels must be zero");
    }
  }
}

Rows read_nm(const std::vector<Tensor>& components, const Extent& extent) {
  check_nm(components, extent);
  const Tensor& values = components[0];
  const int64_t of_tap = (extent.channels + 3) / 4, of_row = of_tap * extent.taps, chosen = values.shape[1];
  const auto* bits_of_places = components[1].as<uint8_t>();
  return with_bits(values, "input 'values'", [&](const auto* bits) {
    return build(extent, values.type, [&](auto&& visit) {
      for (int64_t row = 0; row < extent.rows; ++row) {
        for (int64_t group = 0; group < of_tap; ++group) {
          for (int64_t lane = 0; lane < 4; ++lane) {
            for (int64_t tap = 0; tap < extent.taps; ++tap) {
              const int64_t at = (row * of_row + tap * of_tap + group) * chosen;
              for (int64_t i = at; i < at + chosen; ++i) {
                if (place_at(bits_of_places, i) == lane && bits[i] != 0) {
                  visit(row, (group * 4 + lane) * extent.taps + tap, [&] { return bits[i]; });
                }
              }
            }
          }
        }
      }
    });
  });
}

}  // namespace sparse_export::rows
