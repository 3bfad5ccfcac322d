// How a call is cut, and where its interleaved activations lie.
#pragma once

#include "bundles.h"
#include "interleave.h"
#include "kernels/f32_csr/plan.h"

namespace sparse_export::s8_csr {
namespace {

constexpr int64_t pages = 4096;               // addresses so far apart fall into the same few cache sets
constexpr int64_t rows_at_once = 16;          // of a matrix: units of interleaving
constexpr int64_t most_padding = 16;          // times the input, and
constexpr int64_t padding_free = 16 << 20;    // bytes; more of it is left to the plain loops

inline int64_t round_up(int64_t value, int64_t to) { return ceil_div(value, to) * to; }

// The call as f32_csr's layouts see it: a pixel of four channels is a float.
inline f32_csr::Call as_floats(const Call& call, const Plan& plan, const uint8_t* planes) {
  return {{plan.geometry, plan.size, false, reinterpret_cast<const float*>(planes), {}, nullptr}, call.weights.groups->rows};
}

inline int64_t quads_of(const ConvGeometry& geometry) {
  return ceil_div(geometry.channels_per_group(), group_channels);
}

// One pixel of X for each of Y.
inline bool is_flat(const ConvGeometry& g) {
  return g.kernel[0] * g.kernel[1] == 1 && g.begin[0] + g.begin[1] + g.end[0] + g.end[1] == 0;
}

// That take less time one by one than a vector of them.
#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
constexpr int64_t few_pixels = 16;
#else
constexpr int64_t few_pixels = 1;
#endif

inline bool is_vector(const Call& call) {
  const bool pixels = call.matrix || (is_flat(call.geometry) && call.size.input[0] * call.size.input[1] == 1 &&
                                      call.size.output[0] * call.size.output[1] == 1);
  return pixels && call.size.batch <= few_pixels && call.weights.bundles != nullptr;
}

// Units of about 256 KB of steps, or one for each thread.
inline void plan_vector(const Call& call, size_t threads, Plan& plan) {
  constexpr size_t unit_steps = (size_t{256} << 10) / sizeof(Step);
  plan.layout = Layout::vector;
  plan.bundles = &call.weights.bundles->get(call.weights);
  const auto bundles = static_cast<size_t>(ceil_div(call.geometry.outputs, bundle_rows));
  const size_t wanted = plan.bundles->steps.size() / unit_steps + 1;
  plan.cut.units = threads == 1 ? 1 : bundles < wanted * threads ? bundles : wanted * threads;
  plan.interleaves = static_cast<size_t>(call.size.batch);
  plan.bytes = static_cast<size_t>(call.size.batch * plan.bundles->chunks * chunk_channels);
}

inline void plan_flat(const Call& call, Plan& plan) {
  const int64_t pixels = call.size.batch * call.size.output[0] * call.size.output[1];
  // Interleaving writes whole vectors.
  int64_t pitch = round_up(pixels + pixels_at_once - 1, pixels_at_once);
  pitch += pitch * group_channels % pages == 0 ? pixels_at_once : 0;
  plan.layout = Layout::flat;
  plan.geometry.strides = {1, 1};
  plan.size = {1, {1, pitch}, {1, pixels}};
  plan.bytes = static_cast<size_t>(plan.geometry.channels * pitch * group_channels);
  plan.interleaves = static_cast<size_t>(call.matrix ? ceil_div(pixels, rows_at_once) : plan.geometry.channels);
}

// False: too much padding.
inline bool plan_windows(const Call& call, Plan& plan) {
  const ConvGeometry& g = call.geometry;
  const int64_t width = call.size.input[1] + g.begin[1] + g.end[1];
  // Interleaving writes whole vectors, and the padding to the left of a row behind the last.
  const int64_t height =
      call.size.input[0] + g.begin[0] + g.end[0] + ceil_div(pixels_at_once + g.begin[1], width);
  const int64_t planes = call.size.batch * plan.geometry.channels;
  const int64_t needed = planes * call.size.input[0] * call.size.input[1] * group_channels;
  if (height > (needed * most_padding + padding_free) / group_channels / planes / width) {
    return false;
  }
  plan.layout = Layout::windows;
  plan.geometry.begin = plan.geometry.end = {0, 0};
  plan.size = {call.size.batch, {height, width}, call.size.output};
  plan.bytes = static_cast<size_t>(planes * height * width * group_channels);
  plan.interleaves = static_cast<size_t>(planes);
  return true;
}

constexpr int64_t block_input = 24 << 10;  // bytes: most of L1, the rest for groups and sums
constexpr int64_t small_input = 40 << 10;  // of tiles of few vectors: a pass costs as much as several groups
constexpr int64_t most_input = 192 << 10;  // where that holds too few groups of a row
constexpr int64_t groups_per_pass = 20;    // that pay for reading and writing the sums

// Blocks of columns whose input stays in L1: a dot product takes a load, and L2 gives half a vector a cycle.
inline void plan_blocks(const f32_csr::Call& call, f32_csr::Plan& cut) {
  const ConvGeometry& g = call.geometry;
  const bool strips = cut.layout == f32_csr::Layout::strips;
  const int64_t grain = strips ? g.kernel[0] * g.kernel[1] : 1, all = call.weights.columns / grain;
  const int64_t bytes = strips ? cut.channel_bytes : cut.tile * vector_bytes;
  constexpr int64_t few = 4;
  const int64_t entries = larger(call.weights.entries, 1);
  const int64_t wanted = groups_per_pass * call.weights.rows * call.weights.columns / entries / grain;
  const int64_t grains = larger(1, smaller(larger((cut.tile <= few ? small_input : block_input) / bytes, wanted), most_input / bytes));
  cut.block_columns = ceil_div(all, ceil_div(all, grains)) * grain;
}

// The layout of tiles of windows, as f32_csr chooses it.
inline f32_csr::Layout tile_layout(const f32_csr::Call& call) {
  const f32_csr::Layout layout = f32_csr::choose_layout(call);
  return layout == f32_csr::Layout::strips ? layout : f32_csr::Layout::pixels;
}

inline void make_plan(const Call& call, size_t threads, Plan& plan) {
  if (is_vector(call)) {
    return plan_vector(call, threads, plan);
  }
  if (call.weights.bundles != nullptr) {
    call.weights.bundles->need_groups(call.weights);
  }
  plan.geometry = call.geometry;
  plan.geometry.channels = call.geometry.groups * quads_of(call.geometry);
  const auto leave = [&] {
    plan = {};
    reference.plan(call, threads, plan);
  };
  const bool flat = call.matrix || is_flat(call.geometry);
  if (flat) {
    plan_flat(call, plan);
  } else if (!plan_windows(call, plan)) {
    return leave();
  }
  const f32_csr::Call shape = as_floats(call, plan, nullptr);
  f32_csr::Plan& cut = plan.cut;
  cut.layout = flat ? f32_csr::Layout::direct : tile_layout(shape);
  if (cut.layout == f32_csr::Layout::strips) {
    f32_csr::plan_strips(shape, cut);
  } else {
    f32_csr::plan_pixels(shape, cut);
    cut.narrow = false;
    cut.column_bytes = flat ? plan.size.input[1] * group_channels : cut.tile * vector_bytes;
  }
  plan_blocks(shape, cut);
  if (ceil_div(shape.weights.columns, cut.block_columns) * f32_csr::block_bytes(shape, cut) > int64_t{UINT32_MAX}) {
    return leave();
  }
  f32_csr::plan_units(shape, static_cast<int64_t>(threads), cut);
  // Where one unit has all rows of a tile, its pixels are interleaved when they are needed, side by side.
  plan.by_tile = flat && !call.matrix && cut.row_chunks == 1 && call.size.input == call.size.output &&
                 call.size.output[0] * call.size.output[1] > 1;
  if (plan.by_tile) {
    cut.column_bytes = cut.tile * vector_bytes;
    plan.interleaves = plan.bytes = 0;
  }
}

}  // namespace
}  // namespace sparse_export::s8_csr
