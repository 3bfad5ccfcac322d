// How a call is cut: the layout of its input, its tiles, its blocks of columns, its units.
#pragma once

#include "arrange.h"

namespace sparse_export::f32_csr {
namespace {

// One pixel in, one pixel out: X is a matrix [batch, channels].
inline bool is_matrix_product(const Call& call) {
  const auto one = [](const std::array<int64_t, 2>& extent) { return extent[0] * extent[1] == 1; };
  const bool padded = call.geometry.begin[0] != 0 || call.geometry.begin[1] != 0;
  return one(call.size.input) && one(call.size.output) && one(call.geometry.kernel) && !padded;
}

// Every output pixel is the input pixel at the same place.
inline bool is_plain(const Call& call) {
  const ConvGeometry& g = call.geometry;
  const bool unit = g.kernel[0] * g.kernel[1] == 1 && g.strides[0] * g.strides[1] == 1;
  return unit && call.size.input == call.size.output && g.begin[0] == 0 && g.begin[1] == 0;
}

// Distance of the first inputs of two blocks, in bytes.
inline int64_t block_bytes(const Call& call, const Plan& plan) {
  if (plan.layout == Layout::strips) {
    const int64_t window = call.geometry.kernel[0] * call.geometry.kernel[1];
    return plan.block_columns / window * plan.channel_bytes;
  }
  return plan.block_columns * plan.column_bytes;
}

constexpr int64_t target_bytes = 64 << 10;  // a block's input: L1 plus some of L2
constexpr int64_t small_bytes = 96 << 10;   // of tiles of few vectors: a pass costs as much as several of its taps
constexpr int64_t most_bytes = 192 << 10;   // when that holds too few taps per row
constexpr int64_t taps_per_pass = 10;       // that pay for reading and writing the sums
constexpr int64_t chunk_taps = 256 << 10;   // taps decoded at a time; every chunk arranges the input again
constexpr int64_t chunk_bytes = 512 << 10;  // of sums kept between passes

inline void plan_strips(const Call& call, Plan& plan) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.output[0];
  int64_t index_of_row[max_window];
  int64_t phase_of_index[max_window];
  plan.strips = ceil_div(call.size.output[1], lanes);
  plan.row_tiles = ceil_div(height, max_tile);
  plan.tile = ceil_div(height, plan.row_tiles);
  plan.tiles = call.size.batch * plan.strips * plan.row_tiles;
  plan.phases = used_phases(g, index_of_row, phase_of_index);
  plan.phase_rows = (g.kernel[0] - 1) * g.dilations[0] / g.strides[0] + plan.tile;
  plan.channel_bytes = g.kernel[1] * plan.phases * plan.phase_rows * vector_bytes;
}

inline void plan_pixels(const Call& call, Plan& plan) {
  const int64_t area = call.size.output[0] * call.size.output[1];
  const bool direct = plan.layout == Layout::direct;
  const int64_t vectors = ceil_div(direct ? area : area * call.size.batch, lanes);
  const int64_t tiles = ceil_div(vectors, max_tile);
  plan.tile = ceil_div(vectors, tiles);
  plan.strips = ceil_div(vectors, plan.tile);
  plan.tiles = direct ? plan.strips * call.size.batch : plan.strips;
  plan.narrow = !direct && lanes > narrow_lanes && area * call.size.batch <= narrow_lanes;
  plan.column_bytes = direct ? area * 4 : plan.narrow ? narrow_lanes * 4 : plan.tile * vector_bytes;
}

// Of a pass: sums of so many products of a byte and an int8 are exact in float32.
inline int64_t most_columns(const Call& call) {
  constexpr int64_t exact = (1 << 24) / (255 * 128);
  return call.bytes != nullptr && call.bytes->wide ? exact : INT64_MAX;
}

inline Layout choose_layout(const Call& call) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.output[0];
  const int64_t width = call.size.output[1];
  if (call.size.batch == 1 && is_matrix_product(call)) {
    return Layout::vector;
  }
  if (g.kernel[0] * g.kernel[1] == 1) {
    // Planes a multiple of 4096 bytes apart would all fall into the same few cache sets.
    const bool spread = height * width * 4 % 4096 != 0;
    const bool aligned = height * width % lanes == 0 && reinterpret_cast<uintptr_t>(call.x) % vector_bytes == 0;
    return is_plain(call) && spread && aligned && call.bytes == nullptr ? Layout::direct : Layout::pixels;
  }
  if (height < 4 || g.kernel[0] > max_window || g.kernel[1] > max_window ||
      g.kernel[0] * g.kernel[1] > most_columns(call)) {
    return Layout::pixels;
  }
  Plan strips;
  plan_strips(call, strips);
  const int64_t pixel_vectors = ceil_div(height * width * call.size.batch, lanes);
  const int64_t strip_vectors = strips.strips * height * call.size.batch;
  const bool tight = strip_vectors * 10 <= pixel_vectors * 14;
  const bool compact = strips.channel_bytes <= g.kernel[0] * g.kernel[1] * max_tile * vector_bytes;
  return tight && compact ? Layout::strips : Layout::pixels;
}

inline void plan_blocks(const Call& call, Plan& plan) {
  const ConvGeometry& g = call.geometry;
  const int64_t columns = call.weights.columns;
  const bool strips = plan.layout == Layout::strips;
  const int64_t grain = strips ? g.kernel[0] * g.kernel[1] : 1;
  const int64_t bytes = strips                          ? plan.channel_bytes
                        : plan.layout == Layout::direct ? plan.tile * vector_bytes
                                                        : plan.column_bytes;
  const int64_t entries = larger(call.weights.entries, 1);
  const int64_t wanted = taps_per_pass * call.weights.rows * columns / entries / grain;
  constexpr int64_t few = 4;
  const int64_t target = plan.narrow                   ? most_bytes
                         : !strips && plan.tile <= few ? small_bytes
                                                       : target_bytes;  // one pass, if possible: see compute_rows
  const int64_t most = smaller(most_bytes / bytes, most_columns(call) / grain);
  const int64_t grains = larger(1, smaller(larger(target / bytes, wanted), most));
  const int64_t all = columns / grain;
  plan.block_columns = ceil_div(all, ceil_div(all, grains)) * grain;
}

inline void plan_units(const Call& call, int64_t threads, Plan& plan) {
  const int64_t groups = call.geometry.groups;
  const int64_t rows = call.geometry.outputs_per_group();
  const int64_t entries = call.weights.entries / groups;
  plan.row_chunks =
      smaller(rows, larger(ceil_div(entries, chunk_taps), ceil_div(rows * plan.tile * vector_bytes, chunk_bytes)));
  plan.tile_parts = 1;
  if (threads > 1) {
    const int64_t wanted = threads * 3;
    plan.tile_parts = smaller(plan.tiles, ceil_div(wanted, plan.row_chunks * groups));
    if (plan.tile_parts * plan.row_chunks * groups < wanted) {
      plan.row_chunks =
          smaller(rows, ceil_div(ceil_div(threads, plan.tile_parts * groups), plan.row_chunks) * plan.row_chunks);
    }
  }
  plan.units = static_cast<size_t>(groups * plan.row_chunks * plan.tile_parts);
}

inline void make_plan(const Call& call, size_t threads, Plan& plan) {
  plan.layout = choose_layout(call);
  if (plan.layout == Layout::vector) {
    plan.row_chunks = smaller(call.geometry.outputs_per_group(), threads > 1 ? static_cast<int64_t>(threads) * 4 : 1);
    plan.units = static_cast<size_t>(call.geometry.groups * plan.row_chunks);
    return;
  }
  if (plan.layout == Layout::strips) {
    plan_strips(call, plan);
  } else {
    plan_pixels(call, plan);
  }
  plan_blocks(call, plan);
  if (ceil_div(call.weights.columns, plan.block_columns) * block_bytes(call, plan) > int64_t{UINT32_MAX}) {
    plan.layout = Layout::plain;
    reference.plan(call, threads, plan);
    return;
  }
  plan_units(call, static_cast<int64_t>(threads), plan);
}

}  // namespace
}  // namespace sparse_export::f32_csr
