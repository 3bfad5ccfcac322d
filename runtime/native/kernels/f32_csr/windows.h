// Bringing the activations of windows on small maps into the order in which the taps read them.
#pragma once

#include "arrange.h"

namespace sparse_export::f32_csr {
namespace {

// Windows of small maps. A channel's rows are first copied into a padded patch (unless the window never leaves the
// input); then each tap's line is put together from pieces, every piece a part of one output row.
struct Piece {
  int64_t from;    // floats from the origin of the channel, for tap (0, 0)
  int64_t to;      // position in the tile
  int64_t length;  // at most `lanes`
};

constexpr int64_t max_positions = 32;

struct Windows {
  bool shifted = false;             // see find_shifted
  int64_t distance[max_positions];  // shifted: of each window position, in floats
  LaneMask mask[max_positions][max_tile];
  bool patched = false, gathered = false;
  int64_t pitch = 0;       // of the rows the pieces count in
  int64_t patch_left = 0;  // patched: first column, in the padded input
  int64_t pieces = 0;
  Piece piece[max_runs];
};

constexpr int64_t patch_floats = 32 << 10;
constexpr int64_t patch_slack = 3 * lanes;  // whole vectors are written and read

// Rows of the padded input that a run reads.
struct PatchRows {
  int64_t top, rows;
};

inline PatchRows patch_rows(const Call& call, const Run& run) {
  const ConvGeometry& g = call.geometry;
  const int64_t width = call.size.output[1];
  const int64_t top = run.pixel / width * g.strides[0];
  const int64_t bottom = (run.pixel + run.length - 1) / width * g.strides[0] + (g.kernel[0] - 1) * g.dilations[0];
  return {top, bottom + 1 - top};
}

// Where the patches begin and how wide they are; false where they do not fit the buffer (long dilated windows).
inline bool place_patches(const Call& call, const Tile& tile, Windows& windows) {
  const ConvGeometry& g = call.geometry;
  const int64_t width = call.size.output[1];
  const int64_t first = tile.run[0].pixel;
  const int64_t last = first + tile.run[0].length - 1;
  const bool one_row = tile.runs == 1 && first / width == last / width;
  const int64_t left = one_row ? first % width : 0;
  const int64_t right = one_row ? last % width : width - 1;
  windows.patch_left = left * g.strides[1];
  windows.pitch = (right - left) * g.strides[1] + (g.kernel[1] - 1) * g.dilations[1] + 1;
  int64_t rows = 0;
  for (int64_t n = 0; n < tile.runs; ++n) {
    rows += patch_rows(call, tile.run[n]).rows;
  }
  return windows.pitch <= patch_floats && rows <= patch_floats / windows.pitch;
}

// Where output and input pixels have the same places, a window position reads the whole image moved by one distance:
// its line is loads at that distance, without the lanes whose row or column is outside. True if so.
inline bool find_shifted(const Call& call, const Tile& tile, Windows& windows) {
  const ConvGeometry& g = call.geometry;
  const bool same = g.strides[0] * g.strides[1] == 1 && call.size.input == call.size.output;
  if (!any_lanes_masked || !same || tile.runs != 1 || g.kernel[0] * g.kernel[1] > max_positions) {
    return false;
  }
  for (int64_t position = 0; position < g.kernel[0] * g.kernel[1]; ++position) {
    const int64_t down = position / g.kernel[1] * g.dilations[0] - g.begin[0];
    const int64_t right = position % g.kernel[1] * g.dilations[1] - g.begin[1];
    windows.distance[position] = down * call.size.input[1] + right;
    int64_t y = tile.run[0].pixel / call.size.output[1] + down;
    int64_t x = tile.run[0].pixel % call.size.output[1];
    for (int64_t i = 0; i < tile.vectors; ++i) {
      IndexVec inside{};
      for (int64_t lane = 0; lane < lanes && i * lanes + lane < tile.count; ++lane) {
        inside[lane] = y >= 0 && y < call.size.input[0] && x + right >= 0 && x + right < call.size.input[1];
        if (++x == call.size.output[1]) {
          x = 0;
          ++y;
        }
      }
      windows.mask[position][i] = mask_of(inside);
    }
  }
  return true;
}

inline void find_windows(const Call& call, const Tile& tile, Windows& windows) {
  const ConvGeometry& g = call.geometry;
  windows.shifted = find_shifted(call, tile, windows);
  if (windows.shifted) {
    return;
  }
  const int64_t width = call.size.output[1];
  const int64_t area = call.size.input[0] * call.size.input[1];
  // Without padding no window leaves the input: its extent is what the output's size comes from.
  windows.patched = g.begin[0] + g.begin[1] + g.end[0] + g.end[1] != 0;
  windows.pitch = call.size.input[1];
  windows.gathered = g.strides[1] > 2 || (windows.patched && !place_patches(call, tile, windows));
  if (windows.gathered) {
    return;
  }
  int64_t patch = 0;
  for (int64_t n = 0; n < tile.runs; ++n) {
    const Run& run = tile.run[n];
    const PatchRows rows = patch_rows(call, run);
    const int64_t origin =
        windows.patched ? patch - rows.top * windows.pitch - windows.patch_left : run.image * g.channels * area;
    patch += rows.rows * windows.pitch;
    for (int64_t done = 0; done < run.length;) {
      const int64_t y = (run.pixel + done) / width;
      const int64_t x = (run.pixel + done) % width;
      const int64_t length = smaller(lanes, smaller(width - x, run.length - done));
      const int64_t from = origin + y * g.strides[0] * windows.pitch + x * g.strides[1];
      windows.piece[windows.pieces++] = {from, run.position + done, length};
      done += length;
    }
  }
}

template <class Source>
inline void fill_patches(const Call& call, const Tile& tile, const Windows& windows, int64_t channel, float* out) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0];
  const int64_t width = call.size.input[1];
  const Source source(call);
  for (int64_t n = 0; n < tile.runs; ++n) {
    const PatchRows rows = patch_rows(call, tile.run[n]);
    const auto* plane = source.x + (tile.run[n].image * g.channels + channel) * height * width;
    for (int64_t row = 0; row < rows.rows; ++row, out += windows.pitch) {
      const int64_t y = rows.top + row - g.begin[0];
      const bool inside = y >= 0 && y < height;
      for (int64_t x = 0; x < windows.pitch; x += lanes) {
        const int64_t left = windows.patch_left + x - g.begin[1];
        store(out + x, inside ? source.inside(plane + y * width + left, inside_mask(left, width)) : source.outside());
      }
    }
  }
}

// One tap's line: pieces in ascending order, so that what a whole vector writes too much is overwritten by the next.
// Of a patch, which has room for whole vectors.
inline void copy_patched(const Windows& windows, const float* from, int64_t stride, float* out) {
  const Piece* const end = windows.piece + windows.pieces;
  for (const Piece* piece = windows.piece; piece < end; ++piece) {
    const float* source = from + piece->from;
    store(out + piece->to, stride == 1 ? load(source) : even_lanes(load(source), load(source + lanes)));
  }
}

// The same of X. `ahead`: to where the same pieces of a channel to come lie; the hardware does not see that pattern.
template <class Source>
inline void copy_pieces(const Source& source, const Windows& windows, const typename Source::Element* from,
                        int64_t stride, int64_t ahead, float* out) {
  const Piece* const end = windows.piece + windows.pieces;
  if (stride == 1) {
    for (const Piece* piece = windows.piece; piece < end; ++piece) {
      __builtin_prefetch(from + piece->from + ahead);
      store(out + piece->to, source.first(from + piece->from, piece->length));
    }
    return;
  }
  for (const Piece* piece = windows.piece; piece < end; ++piece) {
    const auto* place = from + piece->from;
    __builtin_prefetch(place + ahead);
    __builtin_prefetch(place + ahead + lanes);
    const int64_t extent = 2 * piece->length - 1;
    const Vec a = source.first(place, smaller(lanes, extent));
    const Vec b = source.first(place + lanes, smaller(lanes, larger(0, extent - lanes)));
    store(out + piece->to, even_lanes(a, b));
  }
}

// Without pieces: every element by itself.
template <class Source>
inline void gather_tap(const Call& call, const Run& run, int64_t channel, int64_t r, int64_t s, float* to) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.input[0];
  const int64_t width = call.size.input[1];
  const Source source(call);
  const auto* plane = source.x + (run.image * g.channels + channel) * height * width;
  for (int64_t i = 0; i < run.length; ++i) {
    const int64_t pixel = run.pixel + i;
    const int64_t y = pixel / call.size.output[1] * g.strides[0] + r * g.dilations[0] - g.begin[0];
    const int64_t x = pixel % call.size.output[1] * g.strides[1] + s * g.dilations[1] - g.begin[1];
    const bool inside = y >= 0 && y < height && x >= 0 && x < width;
    to[i] = inside ? source.at(plane + y * width + x) : source.outside()[0];
  }
}

// Pixels of windows, shifted: `from` is the first pixel of the tile in the first channel.
template <class Source>
inline void arrange_shifted(const Call& call, const Plan& plan, const Tile& tile, const Windows& windows,
                            int64_t position, const typename Source::Element* from, int64_t columns, float* out) {
  const ConvGeometry& g = call.geometry;
  const int64_t area = call.size.input[0] * call.size.input[1];
  const int64_t window = g.kernel[0] * g.kernel[1];
  const Source source(call);
  for (int64_t n = 0; n < columns; ++n, out += plan.column_bytes / 4) {
    for (int64_t i = 0; i < tile.vectors; ++i) {
      store(out + i * lanes, source.inside(from + windows.distance[position] + i * lanes, windows.mask[position][i]));
    }
    if (++position == window) {
      position = 0;
      from += area;
    }
  }
}

// Pixels of windows: one line per weight column, [columns][tile]. `buffer` holds the patches.
template <class Source = Floats>
inline void arrange_windows(const Call& call, const Plan& plan, const Tile& tile, const Windows& windows,
                            int64_t group_channel, int64_t column, int64_t columns, float* out, float* buffer) {
  const ConvGeometry& g = call.geometry;
  const int64_t area = call.size.input[0] * call.size.input[1];
  int64_t s = column % g.kernel[1];
  int64_t r = column / g.kernel[1] % g.kernel[0];
  int64_t channel = group_channel + column / (g.kernel[0] * g.kernel[1]);
  const Source source(call);
  if (windows.shifted) {
    const auto* from = source.x + (tile.run[0].image * g.channels + channel) * area + tile.run[0].pixel;
    arrange_shifted<Source>(call, plan, tile, windows, column % (g.kernel[0] * g.kernel[1]), from, columns, out);
    return;
  }
  bool fresh = true;
  for (int64_t i = 0; i < columns; ++i, out += plan.column_bytes / 4) {
    if (windows.gathered) {
      for (int64_t n = 0; n < tile.runs; ++n) {
        gather_tap<Source>(call, tile.run[n], channel, r, s, out + tile.run[n].position);
      }
    } else {
      if (fresh && windows.patched) {
        fill_patches<Source>(call, tile, windows, channel, buffer);
      }
      const int64_t tap = r * g.dilations[0] * windows.pitch + s * g.dilations[1];
      if (windows.patched) {
        copy_patched(windows, buffer + tap, g.strides[1], out);
      } else {
        copy_pieces(source, windows, source.x + channel * area + tap, g.strides[1], 2 * area, out);
      }
    }
    zero_run(out + tile.count, tile.vectors * lanes - tile.count);
    fresh = false;
    if (++s == g.kernel[1]) {
      s = 0;
      if (++r == g.kernel[0]) {
        r = 0;
        ++channel;
        fresh = true;
      }
    }
  }
}

}  // namespace
}  // namespace sparse_export::f32_csr
