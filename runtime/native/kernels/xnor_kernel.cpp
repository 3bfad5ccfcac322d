// Both sides one bit: XOR finds the products that are -1, a population count adds them up.
//
// 64 output pixels are done together. Their sign bits are laid out in the order of the weights' bits (channel, row,
// column), so the weights are read where the file has them: word w of a row meets word w of every pixel. A second
// set of words says which taps lie inside the image: padding is zero, as in the float graph, and adds nothing.
//
// Accumulators are 64 bits wide: no sum of at most 2^31 ones can overflow. The integer product becomes a float once,
// exactly where it is below 2^24, and scale and bias are two roundings, as Mul and Add of the float graph are
// (this file is compiled without contraction to fused multiply-add).
#include "binary.h"
#include "binary_scratch.h"
#include "xnor_bits.h"

namespace sparse_export {
namespace {

constexpr int64_t tile = 64;       // pixels
constexpr int64_t block_rows = 4;  // of weights, at a time

// ---- First pass: sign bits ------------------------------------------------------------------------------------------

// Output columns [low, high) whose tap of kernel column s lies inside the image.
inline void inside(const BitCall& call, int64_t s, int64_t& low, int64_t& high) {
  const ConvGeometry& g = call.geometry;
  const int64_t shift = s * g.dilations[1] - g.begin[1], step = g.strides[1];
  low = shift >= 0 ? 0 : (-shift + step - 1) / step;
  const int64_t last = call.size.input[1] - 1 - shift;
  high = last < 0 ? 0 : last / step + 1;
  high = high < call.size.output[1] ? high : call.size.output[1];
}

// Writes the streams of one channel from the bits of its rows, each `row_words` words long; 0: all rows are the same.
void write_streams(const BitCall& call, const XnorLayout& layout, uint64_t* words, const uint64_t* bits,
                   int64_t row_words) {
  const ConvGeometry& g = call.geometry;
  const int64_t out_width = call.size.output[1], limit = (layout.stream_words - 2) * 64;
  std::memset(words, 0, static_cast<size_t>(layout.streams * layout.stream_words) * 8);
  for (int64_t s = 0; s < g.kernel[1]; ++s) {
    int64_t low = 0, high = 0;
    inside(call, s, low, high);
    const int64_t from = low * g.strides[1] + s * g.dilations[1] - g.begin[1];
    int64_t phase = g.begin[0] % g.strides[0], at = g.begin[0] / g.strides[0] * out_width;
    for (int64_t y = 0; y < call.size.input[0] && at + out_width <= limit; ++y) {
      if (phase < layout.phases) {
        uint64_t* stream = words + (s * layout.phases + phase) * layout.stream_words;
        copy_bits(bits + y * row_words, from, g.strides[1], stream, at + low, high - low);
      }
      if (++phase == g.strides[0]) {
        phase = 0;
        at += out_width;
      }
    }
  }
}

// The same where an output row is as wide as an input row and strides are 1: every stream is the whole plane,
// shifted, and cut to what lies inside the image.
void shift_streams(const BitCall& call, const XnorLayout& layout, uint64_t* words, const uint64_t* bits,
                   const uint64_t* valid) {
  const ConvGeometry& g = call.geometry;
  const int64_t size = call.size.input[0] * call.size.input[1];
  for (int64_t s = 0; s < g.kernel[1]; ++s) {
    // A word of zeros lies before the plane's bits, two behind.
    int64_t at = 64 - g.begin[0] * call.size.input[1] + s * g.dilations[1] - g.begin[1];
    for (int64_t w = 0; w < layout.stream_words; ++w, at += 64) {
      words[w] = at < 0 || at >= size + 64 ? 0 : bits_at(bits, at) & valid[w];
    }
    words += layout.stream_words;
    valid += layout.stream_words;
  }
}

void pack(const BitCall& call, const XnorLayout& layout, uint64_t* words, size_t source) noexcept {
  uint64_t* to = words + static_cast<int64_t>(source) * layout.streams * layout.stream_words;
  if (call.matrix) {
    pack_signs(call.x + static_cast<int64_t>(source) * call.weights.columns, call.weights.columns, to);
    return;
  }
  const int64_t width = call.size.input[1], height = call.size.input[0];
  const int64_t row_words = width / 64 + 3, plane_words = width * height / 64 + 4;
  thread_local Scratch scratch;
  const int64_t needed = layout.flat ? plane_words : height * row_words;
  auto* bits =
      reinterpret_cast<uint64_t*>(scratch.reserve(static_cast<size_t>(needed > row_words ? needed : row_words) * 8));
  if (bits == nullptr) {
    return;  // the second pass needs more and reports it
  }
  const float* plane = call.x + static_cast<int64_t>(source) * height * width;
  if (static_cast<int64_t>(source) == layout.sources) {
    std::memset(bits, 0, static_cast<size_t>(row_words) * 8);
    for (int64_t i = 0; i < width; i += 64) {
      bits[i / 64] = low_bits(width - i);
    }
    write_streams(call, layout, to, bits, 0);
  } else if (layout.flat) {
    bits[0] = bits[plane_words - 3] = bits[plane_words - 2] = bits[plane_words - 1] = 0;
    pack_signs(plane, width * height, bits + 1);
    shift_streams(call, layout, to, bits, words + layout.sources * layout.streams * layout.stream_words);
  } else {
    for (int64_t y = 0; y < height; ++y) {
      uint64_t* row = bits + y * row_words;
      row[row_words - 3] = row[row_words - 2] = row[row_words - 1] = 0;
      pack_signs(plane + y * width, width, row);
    }
    write_streams(call, layout, to, bits, row_words);
  }
}

// ---- Second pass: products ------------------------------------------------------------------------------------------

// The bits of one tile of pixels: [word][pixel], the bits inside the image with their period, and their number.
struct Tile {
  uint64_t* signs;
  uint64_t* valid;
  int64_t period;  // words after which `valid` repeats
  int64_t words;
  float taps[tile];  // of one pixel: products that are not padding
};

// Bits of columns [64 w, 64 w + 64) of every pixel of the tile, 0 from column `limit` on. `tap[t]`: first bit of tap t
// at the tile's first pixel, `channel_bits`: from one channel to the next.
void gather_word(const uint64_t* words, const int64_t* tap, int64_t taps, int64_t channel_bits, int64_t w,
                 int64_t limit, uint64_t* to) {
  const int64_t from = w * 64, count = limit - from < 64 ? limit - from : 64;
  int64_t channel = from / taps * channel_bits, t = from % taps;
  for (int64_t j = 0; j < count; ++j) {
    to[j] = bits_at(words, channel + tap[t]);
    if (++t == taps) {
      t = 0;
      channel += channel_bits;
    }
  }
  for (int64_t j = count; j < 64; ++j) {
    to[j] = 0;
  }
  transpose(to);
}

// Where the taps' bits of the tile's first pixel lie in the streams of a channel.
void place_taps(const BitCall& call, const XnorLayout& layout, int64_t pixel, int64_t* tap) {
  const ConvGeometry& g = call.geometry;
  for (int64_t r = 0; r < g.kernel[0]; ++r) {
    const int64_t row = r * g.dilations[0], phase = row % g.strides[0];
    const int64_t at = row / g.strides[0] * call.size.output[1] + pixel;
    for (int64_t s = 0; s < g.kernel[1]; ++s) {
      *tap++ = (s * layout.phases + phase) * layout.stream_words * 64 + at;
    }
  }
}

void load_image(const BitCall& call, const XnorLayout& layout, const uint64_t* words, const BitPart& part,
                int64_t* tap, Tile& t) {
  const ConvGeometry& g = call.geometry;
  const int64_t per_channel = layout.streams * layout.stream_words, columns = call.weights.columns;
  const int64_t taps = g.kernel[0] * g.kernel[1];
  const uint64_t* signs = words + (part.image * g.channels + part.group * g.channels_per_group()) * per_channel;
  place_taps(call, layout, part.pixel, tap);
  for (int64_t w = 0; w < t.words; ++w) {
    gather_word(signs, tap, taps, per_channel * 64, w, columns, t.signs + w * tile);
  }
  int64_t inside[tile] = {};
  for (int64_t w = 0; w < t.words; ++w) {
    uint64_t* bits = t.valid + w % t.period * tile;
    if (w < t.period) {
      // Every channel has the same bits, and the weights' padding bits are zero: no need to stop at `columns`.
      gather_word(words + layout.sources * per_channel, tap, taps, 0, w, t.period * 64, bits);
    }
    const uint64_t last = low_bits(columns - w * 64);
    for (int64_t p = 0; p < tile; ++p) {
      inside[p] += __builtin_popcountll(bits[p] & last);
    }
  }
  for (int64_t p = 0; p < tile; ++p) {
    t.taps[p] = static_cast<float>(inside[p]);
  }
}

void load_matrix(const BitCall& call, const XnorLayout& layout, const uint64_t* words, const BitPart& part, Tile& t) {
  for (int64_t w = 0; w < t.words; ++w) {
    for (int64_t p = 0; p < tile; ++p) {
      t.signs[w * tile + p] = p < part.pixels ? words[(part.pixel + p) * layout.stream_words + w] : 0;
    }
  }
  for (int64_t p = 0; p < tile; ++p) {
    t.valid[p] = ~uint64_t{0};
    t.taps[p] = static_cast<float>(call.weights.columns);
  }
}

// The last word of a weight row, without reading past the row's end.
inline uint64_t last_word(const BitWeights& weights, const uint8_t* row, int64_t words) {
  uint64_t word = 0;
  std::memcpy(&word, row + (words - 1) * 8, static_cast<size_t>(weights.row_bytes() - (words - 1) * 8));
  return word;
}

// Products that are -1 of `block_rows` rows and Vectors vectors of pixels.
template <int Vectors>
void count_block(const Tile& t, const uint8_t* const* rows, const uint64_t* last, int64_t pixel, uint64_t* ones) {
  WordVec acc[block_rows][Vectors] = {};
  const uint64_t* signs = t.signs + pixel;
  int64_t phase = 0;
  const auto step = [&](const uint64_t* weights) {
    const uint64_t* valid = t.valid + phase * tile + pixel;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const WordVec x = load_words(signs + v * word_lanes), mask = load_words(valid + v * word_lanes);
#pragma GCC unroll 4
      for (int k = 0; k < block_rows; ++k) {
        acc[k][v] += count_ones((x ^ (WordVec{} + weights[k])) & mask);
      }
    }
    signs += tile;
    phase = phase + 1 == t.period ? 0 : phase + 1;
  };
  for (int64_t w = 0; w + 1 < t.words; ++w) {
    uint64_t weights[block_rows];
#pragma GCC unroll 4
    for (int k = 0; k < block_rows; ++k) {
      std::memcpy(&weights[k], rows[k] + w * 8, 8);
    }
    step(weights);
  }
  step(last);
#pragma GCC unroll 4
  for (int k = 0; k < block_rows; ++k) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      store_words(ones + k * tile + pixel + v * word_lanes, acc[k][v]);
    }
  }
}

void count_rows(const Tile& t, const uint8_t* const* rows, const uint64_t* last, int64_t pixels, uint64_t* ones) {
  int64_t p = 0;
  for (; p + 4 * word_lanes <= pixels; p += 4 * word_lanes) {
    count_block<4>(t, rows, last, p, ones);
  }
  for (; p < pixels; p += word_lanes) {
    count_block<1>(t, rows, last, p, ones);
  }
}

float finish(const BitCall& call, int64_t k, int64_t at, float product) {
  float y = product * call.scale[k];
  y += call.bias[k];
  if (call.residual != nullptr) {
    y += call.residual[at];
  }
  y = y < call.bounds.low ? call.bounds.low : y;
  return y > call.bounds.high ? call.bounds.high : y;
}

void store_row(const BitCall& call, const BitPlan& plan, const BitPart& part, int64_t k, const Tile& t,
               const uint64_t* ones) {
  float product[tile];
  for (int64_t p = 0; p < tile; ++p) {
    product[p] = t.taps[p] - 2.0F * static_cast<float>(static_cast<int64_t>(ones[p]));
  }
  if (call.matrix) {
    for (int64_t p = 0; p < part.pixels; ++p) {
      const int64_t at = (part.pixel + p) * call.weights.rows + k;
      call.y[at] = finish(call, k, at, product[p]);
    }
    return;
  }
  const int64_t at = (part.image * call.weights.rows + k) * plan.pixels + part.pixel;
  const Vec scale = broadcast(call.scale[k]), bias = broadcast(call.bias[k]);
  const Vec low = broadcast(call.bounds.low), high = broadcast(call.bounds.high);
  for (int64_t p = 0; p < part.pixels; p += lanes) {
    Vec y = load(product + p) * scale;
    y += bias;
    if (call.residual != nullptr) {
      y += load_lanes(call.residual + at + p, 0, part.pixels - p);
    }
    store_lanes(call.y + at + p, bounded(y, low, high), part.pixels - p);
  }
}

// Few rows of X: words of a row of X against words of a row of weights.
void few_pixels(const BitCall& call, const XnorLayout& layout, const uint64_t* words, const BitPart& part) {
  const BitWeights& weights = call.weights;
  const int64_t full = weights.columns / 64, count = (weights.columns + 63) / 64;
  for (int64_t k = part.row; k < part.row + part.rows; ++k) {
    const uint8_t* row = weights.row(k);
    for (int64_t p = part.pixel; p < part.pixel + part.pixels; ++p) {
      const uint64_t* x = words + p * layout.stream_words;
      WordVec sum{};
      int64_t w = 0;
      for (; w + word_lanes <= full; w += word_lanes) {
        WordVec bits;
        std::memcpy(&bits, row + w * 8, sizeof bits);
        sum += count_ones(load_words(x + w) ^ bits);
      }
      int64_t ones = 0;
      for (int64_t i = 0; i < word_lanes; ++i) {
        ones += static_cast<int64_t>(sum[i]);
      }
      for (; w < count; ++w) {
        uint64_t bits = 0;
        const int64_t left = weights.row_bytes() - w * 8;
        std::memcpy(&bits, row + w * 8, static_cast<size_t>(left < 8 ? left : 8));
        ones += __builtin_popcountll(x[w] ^ bits);
      }
      const int64_t at = p * weights.rows + k;
      call.y[at] = finish(call, k, at, static_cast<float>(weights.columns - 2 * ones));
    }
  }
}

bool run(const BitCall& call, const BitPlan& plan, const XnorLayout& layout, const uint64_t* words,
         size_t unit) noexcept {
  const BitPart part = part_of(plan, unit);
  if (call.matrix && part.pixels < word_lanes) {
    few_pixels(call, layout, words, part);
    return true;
  }
  Tile t;
  t.words = (call.weights.columns + 63) / 64;
  const int64_t taps = call.matrix ? 1 : call.geometry.kernel[0] * call.geometry.kernel[1];
  t.period = taps < t.words ? taps : t.words;
  thread_local Scratch scratch;
  t.signs = reinterpret_cast<uint64_t*>(scratch.reserve(static_cast<size_t>((t.words + t.period) * tile + taps) * 8));
  if (t.signs == nullptr) {
    return false;
  }
  t.valid = t.signs + t.words * tile;
  if (call.matrix) {
    load_matrix(call, layout, words, part, t);
  } else {
    load_image(call, layout, words, part, reinterpret_cast<int64_t*>(t.valid + t.period * tile), t);
  }
  uint64_t ones[block_rows * tile];
  for (int64_t row = 0; row < part.rows; row += block_rows) {
    const uint8_t* rows[block_rows];
    uint64_t last[block_rows];
    for (int64_t i = 0; i < block_rows; ++i) {
      const int64_t k = row + i < part.rows ? row + i : part.rows - 1;  // the last one again where rows end
      rows[i] = call.weights.row(part.group * plan.rows + part.row + k);
      last[i] = last_word(call.weights, rows[i], t.words);
    }
    count_rows(t, rows, last, part.pixels, ones);
    for (int64_t i = 0; i < block_rows && row + i < part.rows; ++i) {
      store_row(call, plan, part, part.group * plan.rows + part.row + row + i, t, ones + i * tile);
    }
  }
  return true;
}

}  // namespace

extern const XnorKernels SPARSE_EXPORT_JOIN(xnor_, SPARSE_EXPORT_TARGET_NAME) = {pack, run};

}  // namespace sparse_export
