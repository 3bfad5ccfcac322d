// Both sides one bit: XOR finds the products that are -1, a population count adds them up.
//
// A unit's bits are laid out in the order of the weights' bits (kernel row, kernel column, channel), so the weights are
// read where the file has them: word w of a row meets word w of every pixel. A second set of words says which taps lie
// inside the image: padding is zero, as in the float graph, and adds nothing.
//
// Accumulators are 64 bits wide: no sum of at most 2^31 ones can overflow. The integer product becomes a float once,
// exactly where it is below 2^24, and scale and bias are two roundings, as Mul and Add of the float graph are
// (this file is compiled without contraction to fused multiply-add).
#include "binary_scratch.h"
#include "xnor.h"
#include "xnor_bits.h"

namespace sparse_export {
namespace {

constexpr int64_t tile = xnor_tile;
constexpr int64_t block_rows = 4;  // of weights, at a time
constexpr int64_t few = word_lanes / 2;  // so few pixels leave lanes idle: words are the better vectors then

// ---- Sign bits of floats --------------------------------------------------------------------------------------------

void pack_row(const XnorCall& call, uint8_t* to, int64_t row) {
  const float* x = call.x + row * call.weights.columns;
  for (int64_t i = 0; i < call.weights.columns; i += 64) {
    const int64_t count = smaller(call.weights.columns - i, 64);
    store_bytes(to + row * call.x_bytes() + i / 8, sign_word(x + i, count), (count + 7) / 8);
  }
}

// 64 channels of 64 pixels are a matrix of bits, read channel by channel and written pixel by pixel.
void pack(const XnorCall& call, uint8_t* signs, size_t part) noexcept {
  if (call.matrix) {
    pack_row(call, signs, static_cast<int64_t>(part));
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

// Word w of pixel p: signs[w * word_step + p * pixel_step]; likewise the masks, one for every `run` words.
struct Tile {
  uint64_t* signs;
  uint64_t* valid;
  int64_t words, run;
  int64_t word_step, pixel_step;
  alignas(64) int64_t products[tile];  // of a pixel: those that are not padding
};

void load_rows(const XnorCall& call, const BitPart& part, Tile& t) {
  const int64_t columns = call.weights.columns;
  for (int64_t p = 0; p < part.pixels; ++p) {
    const uint8_t* x = call.signs + (part.pixel + p) * call.x_bytes();
    for (int64_t w = 0; w < t.words; ++w) {
      const uint64_t inside = low_bits(columns - w * 64);
      t.signs[w * t.word_step + p * t.pixel_step] = load_bytes(x + w * 8, call.x_bytes() - w * 8) & inside;
    }
    for (int64_t w = 0; w < t.words / t.run; ++w) {
      t.valid[w * t.word_step + p * t.pixel_step] = ~uint64_t{0};
    }
    t.products[p] = columns;
  }
}

// Calls visit(tap, bits of the pixel it reads or null where that is padding) for every tap of an output pixel.
template <class Visit>
void visit_taps(const XnorCall& call, const BitPart& part, int64_t pixel, Visit visit) {
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
void load_words_of_taps(const XnorCall& call, const BitPart& part, int64_t span, Tile& t) {
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
  uint64_t* valid = t.valid;
  for (int64_t r = 0; r < g.kernel[0]; ++r) {
    for (int64_t s = 0; s < g.kernel[1]; ++s, signs += span * t.word_step, valid += masks * t.word_step) {
      for (int64_t p = 0; p < part.pixels; ++p) {
        const int64_t h = top[p] + r * g.dilations[0], w = left[p] + s * g.dilations[1];
        const bool inside = h >= 0 && h < height && w >= 0 && w < width;
        const uint8_t* x = image + (inside ? h * width + w : 0) * bytes;
        const uint64_t mask = inside ? ~uint64_t{0} : 0;
        for (int64_t i = 0; i < span; ++i) {
          signs[i * t.word_step + p * t.pixel_step] = load_bytes(x + i * 8, 8) & mask;
        }
        for (int64_t i = 0; i < masks; ++i) {
          valid[i * t.word_step + p * t.pixel_step] = mask;
        }
        t.products[p] += inside ? span * 64 : 0;
      }
    }
  }
}

// Any number of channels: the bits of a row are put together one after the other. `row`: room for two rows.
void load_bits_of_taps(const XnorCall& call, const BitPart& part, uint64_t* row, Tile& t) {
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
      t.valid[w * t.word_step + p * t.pixel_step] = mask[w];
    }
    t.products[p] = taps * channels;
  }
}

// False: out of memory. Bits of pixels past the part's stay undefined, like the results they give.
bool load_tile(const XnorCall& call, const BitPart& part, Tile& t) {
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
  t.valid = t.signs + room;
  if (part.pixels <= few) {
    std::memset(t.signs, 0, static_cast<size_t>(2 * room) * 8);  // words past a row count nothing
  }
  if (call.matrix) {
    load_rows(call, part, t);
  } else if (whole) {
    load_words_of_taps(call, part, span, t);
  } else {
    load_bits_of_taps(call, part, t.valid + masks, t);
  }
  return true;
}

// ---- Products -------------------------------------------------------------------------------------------------------

// Some rows of weights; the last word of each apart, since it may reach past the row's end.
struct Rows {
  const uint8_t* row[block_rows];
  uint64_t last[block_rows];
  int64_t bytes;
};

// Products that are -1 of `block_rows` rows and Vectors vectors of pixels.
template <int Vectors>
void count_block(const Tile& t, const Rows& rows, int64_t pixel, uint64_t* ones) {
  WordVec acc[block_rows][Vectors] = {};
  const uint64_t* signs = t.signs + pixel;
  const uint64_t* valid = t.valid + pixel;
  int64_t left = t.run;
  const auto step = [&](const uint64_t* weights) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const WordVec x = load_words(signs + v * word_lanes), mask = load_words(valid + v * word_lanes);
#pragma GCC unroll 4
      for (int k = 0; k < block_rows; ++k) {
        acc[k][v] += count_ones((x ^ (WordVec{} + weights[k])) & mask);
      }
    }
    signs += tile;
    if (--left == 0) {
      left = t.run;
      valid += tile;
    }
  };
  for (int64_t w = 0; w + 1 < t.words; ++w) {
    uint64_t weights[block_rows];
#pragma GCC unroll 4
    for (int k = 0; k < block_rows; ++k) {
      std::memcpy(&weights[k], rows.row[k] + w * 8, 8);
    }
    step(weights);
  }
  step(rows.last);
#pragma GCC unroll 4
  for (int k = 0; k < block_rows; ++k) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      store_words(ones + k * tile + pixel + v * word_lanes, acc[k][v]);
    }
  }
}

void count_pixels(const Tile& t, const Rows& rows, int64_t pixels, uint64_t* ones) {
  int64_t p = 0;
  for (; p + 3 * word_lanes < pixels; p += 4 * word_lanes) {
    count_block<4>(t, rows, p, ones);
  }
  switch (ceil_div(pixels - p, word_lanes)) {
    case 3:
      return count_block<3>(t, rows, p, ones);
    case 2:
      return count_block<2>(t, rows, p, ones);
    case 1:
      return count_block<1>(t, rows, p, ones);
    default:
      return;
  }
}

inline uint64_t sum_of(WordVec v) {
#if defined(__AVX512F__)
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(reinterpret_cast<__m512i>(v)));
#else
  uint64_t sum = 0;
  for (int64_t i = 0; i < word_lanes; ++i) {
    sum += v[i];
  }
  return sum;
#endif
}

// The same for so few pixels that a vector holds words of one of them.
template <int Pixels>
void count_words(const Tile& t, const Rows& rows, uint64_t* ones) {
  for (int64_t k = 0; k < block_rows; ++k) {
    WordVec acc[Pixels] = {};
    const auto step = [&](WordVec weights, int64_t w) {
#pragma GCC unroll 4
      for (int64_t p = 0; p < Pixels; ++p) {
        const int64_t at = p * t.pixel_step + w;
        acc[p] += count_ones((load_words(t.signs + at) ^ weights) & load_words(t.valid + at));
      }
    };
    int64_t w = 0;
    for (; (w + word_lanes) * 8 <= rows.bytes; w += word_lanes) {
      WordVec weights;
      std::memcpy(&weights, rows.row[k] + w * 8, sizeof weights);
      step(weights, w);
    }
    if (w * 8 < rows.bytes) {
      WordVec weights{};
      std::memcpy(&weights, rows.row[k] + w * 8, static_cast<size_t>(rows.bytes - w * 8));
      step(weights, w);
    }
#pragma GCC unroll 4
    for (int64_t p = 0; p < Pixels; ++p) {
      ones[k * tile + p] = sum_of(acc[p]);
    }
  }
}

void count_rows(const Tile& t, const Rows& rows, int64_t pixels, uint64_t* ones) {
  if (pixels > few) {
    count_pixels(t, rows, pixels, ones);
  } else if (pixels == 1) {
    count_words<1>(t, rows, ones);
  } else if (pixels == 2) {
    count_words<2>(t, rows, ones);
  } else {
    count_words<few>(t, rows, ones);
  }
}

// ---- Results --------------------------------------------------------------------------------------------------------

float finish(const BitCall& call, int64_t k, float product) {
  float y = product * call.scale[k];
  y += call.bias[k];
  y = y < call.bounds.low ? call.bounds.low : y;
  return y > call.bounds.high ? call.bounds.high : y;
}

void store_row(const XnorCall& call, const BitPlan& plan, const BitPart& part, int64_t k, const Tile& t,
               const uint64_t* ones) {
  float product[tile];
  for (int64_t p = 0; p < part.pixels; ++p) {
    product[p] = static_cast<float>(static_cast<int32_t>(t.products[p] - 2 * static_cast<int64_t>(ones[p])));
  }
  if (call.matrix) {
    for (int64_t p = 0; p < part.pixels; ++p) {
      const int64_t at = (part.pixel + p) * call.weights.rows + k;
      call.y[at] = finish(call, k, product[p]);
    }
    return;
  }
  const int64_t at = (part.image * call.weights.rows + k) * plan.pixels + part.pixel;
  const Vec scale = broadcast(call.scale[k]), bias = broadcast(call.bias[k]);
  const Vec low = broadcast(call.bounds.low), high = broadcast(call.bounds.high);
  for (int64_t p = 0; p < part.pixels; p += lanes) {
    Vec y = load_lanes(product + p, 0, part.pixels - p) * scale;
    y += bias;
    if (call.residual != nullptr) {
      y += load_lanes(call.residual + at + p, 0, part.pixels - p);
    }
    store_lanes(call.y + at + p, bounded(y, low, high), part.pixels - p);
  }
}

// Bit p: whether the result at pixel p is negative.
uint64_t negative_results(const Tile& t, const uint64_t* ones, int64_t pixels, SignRule rule) {
  typedef int64_t SignedVec __attribute__((vector_size(lanes * 4)));
  uint64_t bits = 0;
  for (int64_t p = 0; p < smaller(pixels, tile); p += word_lanes) {
    WordVec taps;
    std::memcpy(&taps, t.products + p, sizeof taps);
    const auto product = reinterpret_cast<SignedVec>(taps - 2 * load_words(ones + p));
    const SignedVec hit = product < rule.below;
#if defined(__AVX512F__)
    const uint64_t found = _mm512_movepi64_mask(reinterpret_cast<__m512i>(hit));
#elif defined(__AVX2__)
    const auto found = static_cast<uint64_t>(_mm256_movemask_pd(reinterpret_cast<__m256d>(hit)));
#else
    uint64_t found = 0, lane[word_lanes];
    std::memcpy(lane, &hit, sizeof lane);
    for (int64_t i = 0; i < word_lanes; ++i) {
      found |= (lane[i] & 1) << i;
    }
#endif
    bits |= found << p;
  }
  return rule.falling ? ~bits : bits;
}

// Bits of up to 64 channels from `k` on, [channel][pixel], to the pixels' bytes; channels past `rows` are zero.
void store_signs(const XnorCall& call, const BitPlan& plan, const BitPart& part, int64_t k, int64_t rows,
                 uint64_t* bits) {
  transpose(bits);
  uint8_t* to = call.y_signs + (part.image * plan.pixels + part.pixel) * call.y_bytes() + k / 8;
  for (int64_t p = 0; p < part.pixels; ++p) {
    store_bytes(to + p * call.y_bytes(), bits[p], (rows + 7) / 8);
  }
}

bool run(const XnorCall& call, const BitPlan& plan, size_t unit) noexcept {
  const BitPart part = part_of(plan, unit);
  Tile t;
  if (!load_tile(call, part, t)) {
    return false;
  }
  const int64_t first = part.group * plan.rows + part.row;
  alignas(64) uint64_t ones[block_rows * tile], bits[64];
  Rows rows;
  rows.bytes = call.weights.row_bytes();
  for (int64_t row = 0; row < part.rows; row += block_rows) {
    for (int64_t i = 0; i < block_rows; ++i) {
      const int64_t k = smaller(row + i, part.rows - 1);  // the last one again where rows end
      rows.row[i] = call.weights.row(first + k);
      rows.last[i] = load_bytes(rows.row[i] + (t.words - 1) * 8, rows.bytes - (t.words - 1) * 8);
    }
    count_rows(t, rows, part.pixels, ones);
    if (call.y_signs == nullptr) {
      for (int64_t i = 0; i < smaller(block_rows, part.rows - row); ++i) {
        store_row(call, plan, part, first + row + i, t, ones + i * tile);
      }
      continue;
    }
    for (int64_t i = 0; i < block_rows; ++i) {
      bits[row % 64 + i] = row + i < part.rows
                               ? negative_results(t, ones + i * tile, part.pixels, call.rules[first + row + i])
                               : 0;
    }
    const int64_t done = row % 64 + block_rows;
    if (done == 64 || row + block_rows >= part.rows) {
      std::memset(bits + done, 0, static_cast<size_t>(64 - done) * 8);
      const int64_t start = row / 64 * 64;
      store_signs(call, plan, part, first + start, smaller(part.rows - start, 64), bits);
    }
  }
  return true;
}

}  // namespace

extern const XnorKernels SPARSE_EXPORT_JOIN(xnor_, SPARSE_EXPORT_TARGET_NAME) = {pack, run};

}  // namespace sparse_export
