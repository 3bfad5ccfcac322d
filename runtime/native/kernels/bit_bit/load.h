// Bringing the signs of activations into the order of the weights' bits.
#pragma once

#include "call.h"
#include "core/scratch.h"
#include "words.h"

namespace sparse_export::bit_bit {
namespace {

constexpr int64_t few = word_lanes / 2;  // so few pixels leave lanes idle: words are the better vectors then

// ---- Sign bits of floats --------------------------------------------------------------------------------------------

inline void arrange_row(const Call& call, uint8_t* to, int64_t row) {
  const float* x = call.x + row * call.weights.columns;
  for (int64_t i = 0; i < call.weights.columns; i += 64) {
    const int64_t count = smaller(call.weights.columns - i, 64);
    store_bytes(to + row * call.x_bytes() + i / 8, sign_word(x + i, count), (count + 7) / 8);
  }
}

// 64 channels of 64 pixels are a matrix of bits, read channel by channel and written pixel by pixel.
inline void arrange(const Call& call, uint8_t* signs, size_t part) noexcept {
  if (call.matrix) {
    arrange_row(call, signs, static_cast<int64_t>(part));
    return;
  }
  const int64_t area = call.size.input[0] * call.size.input[1], channels = call.geometry.channels;
  const int64_t parts = ceil_div(area, tile), image = static_cast<int64_t>(part) / parts;
  const int64_t pixel = static_cast<int64_t>(part) % parts * tile, count = smaller(area - pixel, tile);
  const float* x = call.x + image * channels * area + pixel;
  uint8_t* to = signs + (image * area + pixel) * call.x_bytes();
  for (int64_t first = 0; first < channels; first += 64, to += 8) {
    const int64_t rows = smaller(channels - first, 64), bytes = (rows + 7) / 8;
    alignas(64) uint64_t bits[64];
    for (int64_t c = 0; c < rows; ++c, x += area) {
      bits[c] = sign_word(x, count);
    }
    std::memset(bits + rows, 0, static_cast<size_t>(64 - rows) * 8);
    transpose(bits);
    for (int64_t p = 0; p < count; ++p) {
      store_bytes(to + p * call.x_bytes(), bits[p], bytes);
    }
  }
}

// ---- The bits of one unit -------------------------------------------------------------------------------------------

// Word w of pixel p: signs[w * word_step + p * pixel_step]; likewise `outside`, one for every `run` words: ones where
// there is no input. There the signs are zero.
struct Tile {
  uint64_t* signs;
  uint64_t* outside;
  int64_t words, run;
  int64_t word_step, pixel_step;
  alignas(64) int64_t products[tile];  // of a pixel: those that are not padding
};

inline void load_rows(const Call& call, const Part& part, Tile& t) {
  const int64_t columns = call.weights.columns;
  for (int64_t p = 0; p < part.pixels; ++p) {
    const uint8_t* x = call.signs + (part.pixel + p) * call.x_bytes();
    for (int64_t w = 0; w < t.words; ++w) {
      const uint64_t inside = low_bits(columns - w * 64);
      t.signs[w * t.word_step + p * t.pixel_step] = load_bytes(x + w * 8, call.x_bytes() - w * 8) & inside;
    }
    for (int64_t w = 0; w < t.words / t.run; ++w) {
      t.outside[w * t.word_step + p * t.pixel_step] = 0;
    }
    t.products[p] = columns;
  }
}

// Calls visit(tap, bits of the pixel it reads or null where that is padding) for every tap of an output pixel.
template <class Visit>
void visit_taps(const Call& call, const Part& part, int64_t pixel, Visit visit) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0], width = call.size.input[1];
  const int64_t top = pixel / call.size.output[1] * g.strides[0] - g.begin[0];
  const int64_t left = pixel % call.size.output[1] * g.strides[1] - g.begin[1];
  const uint8_t* image = call.signs + part.image * height * width * call.x_bytes();
  int64_t tap = 0;
  for (int64_t r = 0, h = top; r < g.kernel[0]; ++r, h += g.dilations[0]) {
    for (int64_t s = 0, w = left; s < g.kernel[1]; ++s, w += g.dilations[1], ++tap) {
      const bool inside = h >= 0 && h < height && w >= 0 && w < width;
      visit(tap, inside ? image + (h * width + w) * call.x_bytes() : nullptr);
    }
  }
}

// The channels of a group are whole words: a tap is `span` words of the row.
inline void load_words_of_taps(const Call& call, const Part& part, int64_t span, Tile& t) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0], width = call.size.input[1], bytes = call.x_bytes();
  const uint8_t* image = call.signs + part.image * height * width * bytes + part.group * span * 8;
  int64_t top[tile], left[tile];
  for (int64_t p = 0; p < part.pixels; ++p) {
    top[p] = (part.pixel + p) / call.size.output[1] * g.strides[0] - g.begin[0];
    left[p] = (part.pixel + p) % call.size.output[1] * g.strides[1] - g.begin[1];
    t.products[p] = 0;
  }
  const int64_t masks = span / t.run;
  uint64_t* signs = t.signs;
  uint64_t* outside = t.outside;
  for (int64_t r = 0; r < g.kernel[0]; ++r) {
    for (int64_t s = 0; s < g.kernel[1]; ++s, signs += span * t.word_step, outside += masks * t.word_step) {
      for (int64_t p = 0; p < part.pixels; ++p) {
        const int64_t h = top[p] + r * g.dilations[0], w = left[p] + s * g.dilations[1];
        const bool inside = h >= 0 && h < height && w >= 0 && w < width;
        const uint8_t* x = image + (inside ? h * width + w : 0) * bytes;
        const uint64_t mask = inside ? ~uint64_t{0} : 0;
        for (int64_t i = 0; i < span; ++i) {
          signs[i * t.word_step + p * t.pixel_step] = load_bytes(x + i * 8, 8) & mask;
        }
        for (int64_t i = 0; i < masks; ++i) {
          outside[i * t.word_step + p * t.pixel_step] = ~mask;
        }
        t.products[p] += inside ? span * 64 : 0;
      }
    }
  }
}

// Any number of channels: the bits of a row are put together one after the other. `row`: room for two rows.
inline void load_bits_of_taps(const Call& call, const Part& part, uint64_t* row, Tile& t) {
  const int64_t channels = call.geometry.channels_per_group();
  uint64_t* mask = row + t.words + 1;
  for (int64_t p = 0; p < part.pixels; ++p) {
    std::memset(row, 0, static_cast<size_t>(2 * (t.words + 1)) * 8);
    int64_t taps = 0;
    visit_taps(call, part, part.pixel + p, [&](int64_t tap, const uint8_t* x) {
      for (int64_t c = 0; x != nullptr && c < channels; c += 64) {
        const int64_t count = smaller(channels - c, 64);
        const auto to = static_cast<uint64_t>(tap * channels + c);
        put_bits(row, to, bits_at(x, call.x_bytes(), part.group * channels + c, count), count);
        put_bits(mask, to, ~uint64_t{0}, count);
      }
      taps += x == nullptr ? 0 : 1;
    });
    for (int64_t w = 0; w < t.words; ++w) {
      t.signs[w * t.word_step + p * t.pixel_step] = row[w];
      t.outside[w * t.word_step + p * t.pixel_step] = ~mask[w];
    }
    t.products[p] = taps * channels;
  }
}

// False: out of memory. Bits of pixels past the part's stay undefined, like the results they give.
inline bool load_tile(const Call& call, const Part& part, Tile& t) {
  const int64_t channels = call.geometry.channels_per_group(), span = channels / 64;
  const bool whole = channels % 64 == 0 && !call.matrix;
  t.words = ceil_div(call.weights.columns, 64);
  t.run = part.pixels <= few ? 1 : call.matrix ? t.words : whole ? span : 1;
  const int64_t padded = ceil_div(t.words, word_lanes) * word_lanes;
  t.word_step = part.pixels <= few ? 1 : tile;
  t.pixel_step = part.pixels <= few ? padded : 1;
  const int64_t room = part.pixels <= few ? padded * few : t.words * tile;
  const int64_t masks = part.pixels <= few ? room : t.words / t.run * tile;
  thread_local Scratch scratch;
  t.signs = reinterpret_cast<uint64_t*>(scratch.reserve(static_cast<size_t>(room + masks + 2 * (t.words + 1)) * 8));
  if (t.signs == nullptr) {
    return false;
  }
  t.outside = t.signs + room;
  if (part.pixels <= few) {
    std::memset(t.signs, 0, static_cast<size_t>(2 * room) * 8);  // words past a row count nothing
  }
  if (call.matrix) {
    load_rows(call, part, t);
  } else if (whole) {
    load_words_of_taps(call, part, span, t);
  } else {
    load_bits_of_taps(call, part, t.outside + masks, t);
  }
  return true;
}

}  // namespace
}  // namespace sparse_export::bit_bit
