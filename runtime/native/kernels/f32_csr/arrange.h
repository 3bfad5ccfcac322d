// Bringing the activations of one tile into the order in which the taps read them.
#pragma once

#include "source.h"

namespace sparse_export::f32_csr {
namespace {

constexpr int64_t max_runs = max_tile * lanes;

// Which output pixels a tile holds.
struct Tile {
  int64_t vectors = 0;                   // of this tile: the last ones may be shorter
  int64_t image = 0, top = 0, left = 0;  // strips; direct uses image
  int64_t first = 0, count = 0;          // pixels: folded over the batch; direct: within the image
  int64_t runs = 0;
  Run run[max_runs];
};

inline void add_run(Tile& tile, int64_t image, int64_t pixel, int64_t length, int64_t position) {
  tile.run[tile.runs++] = {image, pixel, length, position};
}

inline void find_tile(const Call& call, const Plan& plan, int64_t index, Tile& tile) {
  const int64_t height = call.size.output[0];
  const int64_t width = call.size.output[1];
  const int64_t area = height * width;
  tile.runs = 0;
  if (plan.layout == Layout::strips) {
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
  const bool direct = plan.layout == Layout::direct;
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

// Which lanes of a vector that begins at column `left` are inside [0, width).
inline LaneMask inside_mask(int64_t left, int64_t width) {
  const int64_t low = smaller(lanes, larger(0, -left));
  return lane_mask(low, larger(low, smaller(lanes, width - left)));
}

// One vector of input columns left, left + stride, ...; padding outside the row. The masks are `inside_mask` of `left`
// and `left + lanes`.
template <class Source>
inline Vec load_row(const Source& source, const typename Source::Element* row, int64_t left, int64_t width,
                    int64_t stride, LaneMask a, LaneMask b) {
  if (stride == 1) {
    return source.inside(row + left, a);
  }
  if (stride == 2) {
    return even_lanes(source.inside(row + left, a), source.inside(row + left + lanes, b));
  }
  Vec v = source.outside();
  for (int64_t i = 0; i < lanes; ++i) {
    const int64_t x = left + i * stride;
    if (x >= 0 && x < width) {
      v[i] = source.at(row + x);
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

// Strips: where the inputs of each weight column begin.
inline void fill_columns(const ConvGeometry& geometry, const Plan& plan, uint32_t* out) {
  int64_t index_of_row[max_window];
  int64_t phase_of_index[max_window];
  used_phases(geometry, index_of_row, phase_of_index);
  for (int64_t c = 0; c < geometry.channels_per_group(); ++c) {
    for (int64_t r = 0; r < geometry.kernel[0]; ++r) {
      const int64_t row = index_of_row[r] * plan.phase_rows + r * geometry.dilations[0] / geometry.strides[0];
      for (int64_t s = 0; s < geometry.kernel[1]; ++s) {
        const int64_t line = s * plan.phases * plan.phase_rows + row;
        *out++ = static_cast<uint32_t>(c * plan.channel_bytes + line * vector_bytes);
      }
    }
  }
}

// Strips: channel by channel [S][phase][row][lanes].
template <int Stride, class Source = Floats>
void arrange_strips(const Call& call, const Plan& plan, const Tile& tile, int64_t channel, int64_t channels,
                    float* out) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0];
  const int64_t width = call.size.input[1];
  const int64_t stride = Stride == 0 ? g.strides[1] : Stride;
  int64_t index_of_row[max_window];
  int64_t phase_of_index[max_window];
  const int64_t phases = used_phases(g, index_of_row, phase_of_index);
  const int64_t rows = plan.phase_rows - plan.tile + tile.vectors;
  const Source source(call);
  for (int64_t c = channel; c < channel + channels; ++c) {
    const auto* plane = source.x + (tile.image * g.channels + c) * height * width;
    for (int64_t s = 0; s < g.kernel[1]; ++s) {
      const int64_t left = tile.left * stride + s * g.dilations[1] - g.begin[1];
      const LaneMask a = inside_mask(left, width);
      const LaneMask b = inside_mask(left + lanes, width);
      for (int64_t phase = 0; phase < phases; ++phase, out += plan.phase_rows * lanes) {
        int64_t y = tile.top * g.strides[0] + phase_of_index[phase] - g.begin[0];
        for (int64_t row = 0; row < rows; ++row, y += g.strides[0]) {
          const bool inside = y >= 0 && y < height;
          const auto* from = plane + y * width;
          if (s == 0) {
            // Short rows far apart: the hardware does not see the pattern of the next channel.
            __builtin_prefetch(from + height * width + left + lanes / 2);
          }
          store_aligned(out + row * lanes, inside ? load_row(source, from, left, width, stride, a, b) : source.outside());
        }
      }
    }
  }
}

// Writes whole vectors: up to lanes - 1 floats behind the run are overwritten.
template <class Source>
inline void copy_run(const Source& source, const typename Source::Element* from, float* to, int64_t length) {
  int64_t i = 0;
  for (; i + lanes <= length; i += lanes) {
    store(to + i, source.whole(from + i));
  }
  if (i < length) {
    store(to + i, source.first(from + i, length - i));
  }
}

// As `copy_run`, with zeros.
inline void zero_run(float* to, int64_t length) {
  for (int64_t i = 0; i < length; i += lanes) {
    store(to + i, Vec{});
  }
}

// Pixels of matrix products: a transposition.
template <class Source>
inline void arrange_transposed(const Call& call, const Plan& plan, const Tile& tile, int64_t first_channel,
                               int64_t columns, float* out) {
  const int64_t pitch = plan.column_bytes / 4;
  const int64_t padded = tile.vectors * lanes;
  const Source source(call);
  for (int64_t c = 0; c < columns && tile.count < padded; ++c) {
    zero_run(out + c * pitch + tile.count, padded - tile.count);
  }
  for (int64_t i = 0; i < tile.count; ++i) {
    const auto* from = source.x + (tile.first + i) * call.geometry.channels + first_channel;
    for (int64_t c = 0; c < columns; ++c) {
      out[c * pitch + i] = source.at(from + c);
    }
  }
}

// Pixels of 1 x 1 windows without stride or padding: [columns][tile], every run is contiguous in the input.
template <class Source>
inline void arrange_plain(const Call& call, const Plan& plan, const Tile& tile, int64_t channel, int64_t columns,
                          float* out) {
  const int64_t area = call.size.input[0] * call.size.input[1];
  const int64_t padded = tile.vectors * lanes;
  const Source source(call);
  for (int64_t c = channel; c < channel + columns; ++c, out += plan.column_bytes / 4) {
    for (int64_t n = 0; n < tile.runs; ++n) {
      const Run& run = tile.run[n];
      const auto* from = source.x + (run.image * call.geometry.channels + c) * area + run.pixel;
      copy_run(source, from, out + run.position, run.length);
    }
    zero_run(out + tile.count, padded - tile.count);
  }
}

}  // namespace
}  // namespace sparse_export::f32_csr
