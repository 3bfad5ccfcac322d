// The activations of one unit, one block of weight columns at a time: where the value of every column at every
// pixel lies, with the padding made explicit. Internal linkage: every target has its own.
#pragma once

#include <cstring>

#include "call.h"

namespace sparse_export::f32_codes {
namespace {

constexpr int64_t most_columns = 256, most_pixels = 128;

// Value of column j at pixel p: base[column[j] + pixel[p]].
struct InputBlock {
  const float* base;
  int64_t column[most_columns];
  int64_t pixel[most_pixels];
};

// The rows and columns of the padded image that a unit looks at.
struct Window {
  int64_t first_row, rows, width;
  bool copied;  // false: there is no padding, the values are read where they are
};

inline Window window_of(const Call& call, const Part& part) {
  const ConvGeometry& g = call.geometry;
  const int64_t out_width = call.size.output[1];
  const int64_t top = part.pixel / out_width, bottom = (part.pixel + part.pixels - 1) / out_width;
  const bool padded = (g.begin[0] | g.begin[1] | g.end[0] | g.end[1]) != 0;
  if (!padded) {
    return {0, call.size.input[0], call.size.input[1], false};
  }
  const int64_t rows = (bottom - top) * g.strides[0] + (g.kernel[0] - 1) * g.dilations[0] + 1;
  const int64_t width = (out_width - 1) * g.strides[1] + (g.kernel[1] - 1) * g.dilations[1] + 1;
  return {top * g.strides[0], rows, width, true};
}

// Floats of scratch that `fill_block` needs for a unit.
inline int64_t window_floats(const Call& call, const Part& part) {
  if (call.matrix) {
    return 0;
  }
  const Window window = window_of(call, part);
  const int64_t taps = call.geometry.kernel[0] * call.geometry.kernel[1];
  const int64_t all = call.geometry.channels_per_group();
  const int64_t channels = most_columns / taps + 2;
  return window.copied ? (channels < all ? channels : all) * window.rows * window.width : 0;
}

// Copies one row of the image into a row of the window; what lies outside the image becomes zero.
inline void copy_row(const Call& call, const float* plane, int64_t row, float* to, int64_t width) {
  const int64_t left = call.geometry.begin[1] < width ? call.geometry.begin[1] : width;
  const int64_t inside = width - left < call.size.input[1] ? width - left : call.size.input[1];
  if (row < 0 || row >= call.size.input[0]) {
    std::memset(to, 0, static_cast<size_t>(width) * 4);
    return;
  }
  std::memset(to, 0, static_cast<size_t>(left) * 4);
  std::memcpy(to + left, plane + row * call.size.input[1], static_cast<size_t>(inside) * 4);
  std::memset(to + left + inside, 0, static_cast<size_t>(width - left - inside) * 4);
}

inline void fill_pixels(const Call& call, const Part& part, InputBlock& block) {
  const ConvGeometry& g = call.geometry;
  if (call.matrix) {
    for (int64_t p = 0; p < part.pixels; ++p) {
      block.pixel[p] = p * call.weights.columns;
    }
    return;
  }
  const Window window = window_of(call, part);
  for (int64_t p = 0; p < part.pixels; ++p) {
    const int64_t row = (part.pixel + p) / call.size.output[1], column = (part.pixel + p) % call.size.output[1];
    block.pixel[p] = (row * g.strides[0] - window.first_row) * window.width + column * g.strides[1];
  }
}

// Points the block at columns [first, first + count) of the weights; `copy` is scratch of `window_floats`.
inline void fill_block(const Call& call, const Part& part, int64_t first, int64_t count, float* copy,
                       InputBlock& block) {
  if (call.matrix) {
    block.base = call.x + part.pixel * call.weights.columns + first;
    for (int64_t j = 0; j < count; ++j) {
      block.column[j] = j;
    }
    return;
  }
  const ConvGeometry& g = call.geometry;
  const int64_t taps = g.kernel[0] * g.kernel[1], plane = call.size.input[0] * call.size.input[1];
  const Window window = window_of(call, part);
  const int64_t from = first / taps, to = (first + count - 1) / taps + 1;
  const float* x = call.x + (part.image * g.channels + part.group * g.channels_per_group()) * plane;
  const int64_t pitch = window.rows * window.width;
  if (window.copied) {
    for (int64_t c = from; c < to; ++c) {
      for (int64_t r = 0; r < window.rows; ++r) {
        copy_row(call, x + c * plane, window.first_row + r - g.begin[0], copy + (c - from) * pitch + r * window.width,
                 window.width);
      }
    }
  }
  block.base = window.copied ? copy : x + from * plane;
  int64_t c = 0, r = first % taps / g.kernel[1], s = first % g.kernel[1];
  for (int64_t j = 0; j < count; ++j) {
    block.column[j] = c * pitch + r * g.dilations[0] * window.width + s * g.dilations[1];
    if (++s == g.kernel[1]) {
      s = 0;
      if (++r == g.kernel[0]) {
        r = 0;
        ++c;
      }
    }
  }
}

// Calls body<span, kind>() with what a code of the weights stands for.
template <class Body>
inline void with_codes(const Weights& weights, const Body& body) {
  if (weights.span == 4) {
    weights.kind == Kind::odd ? body.template operator()<4, Kind::odd>() : body.template operator()<4, Kind::full>();
  } else if (weights.span == 2) {
    weights.kind == Kind::odd ? body.template operator()<2, Kind::odd>() : body.template operator()<2, Kind::full>();
  } else {
    weights.kind == Kind::half ? body.template operator()<1, Kind::half>() : body.template operator()<1, Kind::full>();
  }
}

}  // namespace
}  // namespace sparse_export::f32_codes
