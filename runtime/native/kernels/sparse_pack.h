// Bringing the activations of one tile into the order in which the taps read them.
#pragma once

#include "simd.h"
#include "sparse.h"

namespace sparse_export {
namespace {

// Output pixels [pixel, pixel + length) of one image, at `position` of the tile.
struct Run {
  int64_t image, pixel, length, position;
};

constexpr int64_t max_runs = max_tile * lanes;

// Which output pixels a tile holds.
struct Tile {
  int64_t vectors = 0;  // of this tile: the last ones may be shorter
  int64_t image = 0, top = 0, left = 0;  // strips; direct uses image
  int64_t first = 0, count = 0;          // pixels: folded over the batch; direct: within the image
  int64_t runs = 0;
  Run run[max_runs];
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

inline void add_run(Tile& tile, int64_t image, int64_t pixel, int64_t length, int64_t position) {
  tile.run[tile.runs++] = {image, pixel, length, position};
}

inline void find_tile(const SparseCall& call, const SparsePlan& plan, int64_t index, Tile& tile) {
  const int64_t height = call.size.output[0];
  const int64_t width = call.size.output[1];
  const int64_t area = height * width;
  tile.runs = 0;
  if (plan.layout == SparseLayout::strips) {
    const int64_t strip = index % plan.strips;
    const int64_t rest = index / plan.strips;
    tile.top = rest % plan.row_tiles * plan.tile;
    tile.image = rest / plan.row_tiles;
    tile.left = strip * lanes;
    tile.vectors = smaller(plan.tile, height - tile.top);
    const int64_t length = smaller(lanes, width - tile.left);
    for (int64_t row = 0; row < tile.vectors; ++row) {
      add_run(tile, tile.image, (tile.top + row) * width + tile.left, length, row * lanes);
    }
    return;
  }
  const bool direct = plan.layout == SparseLayout::direct;
  const int64_t all = direct ? area : area * call.size.batch;
  tile.image = direct ? index / plan.strips : 0;
  tile.first = (direct ? index % plan.strips : index) * plan.tile * lanes;
  tile.count = smaller(plan.tile * lanes, all - tile.first);
  tile.vectors = ceil_div(tile.count, lanes);
  for (int64_t done = 0; done < tile.count;) {
    const int64_t pixel = tile.first + done;
    const int64_t within = direct ? pixel : pixel % area;
    const int64_t length = smaller(area - within, tile.count - done);
    add_run(tile, direct ? tile.image : pixel / area, within, length, done);
    done += length;
  }
}

// One vector of input columns left, left + stride, ...; zero outside [0, width).
inline Vec load_row(const float* row, int64_t left, int64_t width, int64_t stride) {
  if (stride == 1) {
    const int64_t low = smaller(lanes, larger(0, -left));
    return load_lanes(row + left, low, smaller(lanes, width - left));
  }
  if (stride == 2) {
    const int64_t next = left + lanes;
    const Vec a = load_lanes(row + left, smaller(lanes, larger(0, -left)), smaller(lanes, width - left));
    const Vec b = load_lanes(row + next, smaller(lanes, larger(0, -next)), smaller(lanes, width - next));
    return even_lanes(a, b);
  }
  Vec v{};
  for (int64_t i = 0; i < lanes; ++i) {
    const int64_t x = left + i * stride;
    if (x >= 0 && x < width) {
      v[i] = row[x];
    }
  }
  return v;
}

// Phases of the vertical stride that some tap uses, in order of first use; returns their number.
inline int64_t used_phases(const ConvGeometry& geometry, int64_t* index_of_row, int64_t* phase_of_index) {
  int64_t count = 0;
  for (int64_t r = 0; r < geometry.kernel[0]; ++r) {
    const int64_t phase = r * geometry.dilations[0] % geometry.strides[0];
    int64_t index = 0;
    while (index < count && phase_of_index[index] != phase) {
      ++index;
    }
    if (index == count) {
      phase_of_index[count++] = phase;
    }
    index_of_row[r] = index;
  }
  return count;
}

constexpr int64_t max_window = 32;  // strips: kernel height and width

// Strips: channel by channel [S][phase][row][lanes].
inline void pack_strips(const SparseCall& call, const SparsePlan& plan, const Tile& tile, int64_t channel,
                        int64_t channels, float* out) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0];
  const int64_t width = call.size.input[1];
  int64_t index_of_row[max_window];
  int64_t phase_of_index[max_window];
  const int64_t phases = used_phases(g, index_of_row, phase_of_index);
  const int64_t rows = plan.phase_rows - plan.tile + tile.vectors;
  for (int64_t c = channel; c < channel + channels; ++c) {
    const float* plane = call.x + (tile.image * g.channels + c) * height * width;
    for (int64_t s = 0; s < g.kernel[1]; ++s) {
      const int64_t left = tile.left * g.strides[1] + s * g.dilations[1] - g.begin[1];
      for (int64_t phase = 0; phase < phases; ++phase, out += plan.phase_rows * lanes) {
        int64_t y = tile.top * g.strides[0] + phase_of_index[phase] - g.begin[0];
        for (int64_t row = 0; row < rows; ++row, y += g.strides[0]) {
          const bool inside = y >= 0 && y < height;
          store_aligned(out + row * lanes, inside ? load_row(plane + y * width, left, width, g.strides[1]) : Vec{});
        }
      }
    }
  }
}

inline void copy_run(const float* from, float* to, int64_t length) {
  int64_t i = 0;
  for (; i + lanes <= length; i += lanes) {
    store(to + i, load(from + i));
  }
  if (i < length) {
    store_lanes(to + i, load_lanes(from + i, 0, length - i), length - i);
  }
}

// One output row's worth of one tap: input columns x0, x0 + stride, ... with zeros outside the row.
inline void copy_segment(const float* row, int64_t x0, int64_t width, int64_t stride, float* to, int64_t length) {
  for (int64_t i = 0; i < length; i += lanes) {
    const Vec v = load_row(row, x0 + i * stride, width, stride);
    store_lanes(to + i, v, smaller(lanes, length - i));
  }
}

inline void zero_run(float* to, int64_t length) {
  for (int64_t i = 0; i < length; i += lanes) {
    store_lanes(to + i, Vec{}, smaller(lanes, length - i));
  }
}

// Pixels of matrix products: a transposition.
inline void pack_transposed(const SparseCall& call, const SparsePlan& plan, const Tile& tile, int64_t first_channel,
                            int64_t columns, float* out) {
  const int64_t pitch = plan.column_bytes / 4;
  const int64_t padded = tile.vectors * lanes;
  for (int64_t i = 0; i < tile.count; ++i) {
    const float* from = call.x + (tile.first + i) * call.geometry.channels + first_channel;
    for (int64_t c = 0; c < columns; ++c) {
      out[c * pitch + i] = from[c];
    }
  }
  for (int64_t c = 0; c < columns && tile.count < padded; ++c) {
    zero_run(out + c * pitch + tile.count, padded - tile.count);
  }
}

// Pixels of windows: one line per weight column, [columns][tile].
inline void pack_pixels(const SparseCall& call, const SparsePlan& plan, const Tile& tile, int64_t group_channel,
                        int64_t column, int64_t columns, float* out) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0];
  const int64_t width = call.size.input[1];
  const int64_t out_width = call.size.output[1];
  const bool plain = g.kernel[0] * g.kernel[1] * g.strides[0] * g.strides[1] == 1 && call.size.output == call.size.input &&
                     g.begin[0] == 0 && g.begin[1] == 0;
  const int64_t padded = tile.vectors * lanes;
  for (int64_t i = column; i < column + columns; ++i, out += plan.column_bytes / 4) {
    const int64_t s = i % g.kernel[1];
    const int64_t r = i / g.kernel[1] % g.kernel[0];
    const int64_t c = group_channel + i / (g.kernel[0] * g.kernel[1]);
    const int64_t top = r * g.dilations[0] - g.begin[0];
    const int64_t left = s * g.dilations[1] - g.begin[1];
    for (int64_t n = 0; n < tile.runs; ++n) {
      const Run& run = tile.run[n];
      const float* plane = call.x + (run.image * g.channels + c) * height * width;
      if (plain) {
        copy_run(plane + run.pixel, out + run.position, run.length);
        continue;
      }
      int64_t oy = run.pixel / out_width;
      int64_t ox = run.pixel % out_width;
      for (int64_t done = 0; done < run.length; ++oy, ox = 0) {
        const int64_t length = smaller(out_width - ox, run.length - done);
        const int64_t y = oy * g.strides[0] + top;
        float* to = out + run.position + done;
        if (y >= 0 && y < height) {
          copy_segment(plane + y * width, ox * g.strides[1] + left, width, g.strides[1], to, length);
        } else {
          zero_run(to, length);
        }
        done += length;
      }
    }
    zero_run(out + tile.count, padded - tile.count);
  }
}

}  // namespace
}  // namespace sparse_export
