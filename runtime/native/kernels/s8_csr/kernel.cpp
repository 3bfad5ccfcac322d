// Sparse int8 weights times dense 8-bit activations, one source for every target.
//
// A non-empty group of four input channels ("group") adds its dot products with a shifted tile of the input, four
// channels interleaved, to the output tile of its row. Tiles, strips and blocks are those of f32_csr.
#include "epilogue.h"
#include "halves.h"
#include "interleave.h"
#include "kernels/f32_csr/windows.h"
#include "plan.h"
#include "requantize.h"
#include "taking.h"
#include "tile.h"
#include "unit.h"
#include "vector.h"

namespace sparse_export::s8_csr {
namespace {

// `gaps`: of the unit's first group and on.
template <class Gap>
void decode_offsets(Unit& unit, const Gap* gaps) {
  const f32_csr::Weights& groups = unit.shape.weights;
  const f32_csr::Plan& cut = unit.plan.cut;
  const auto& kernel = unit.plan.geometry.kernel;
  const uint32_t scale = cut.layout == f32_csr::Layout::strips ? 0 : static_cast<uint32_t>(cut.column_bytes);
  const f32_csr::TapPlaces places{groups.columns,        cut.block_columns, unit.blocks, scale,
                                  kernel[0] * kernel[1], cut.channel_bytes, unit.columns};
  const int64_t first = groups.begin(unit.first_row);
#if defined(__AVX512F__)
  const f32_csr::RowDecoder decoder(places);
#endif
  uint32_t* cuts = unit.cuts;
  for (int64_t row = unit.first_row; row < unit.last_row; ++row, cuts += unit.blocks + 1) {
    const int64_t begin = groups.begin(row);
    const int64_t count = groups.begin(row + 1) - begin;
    const auto place = static_cast<uint32_t>(begin - first);
#if defined(__AVX512F__)
    if (f32_csr::RowDecoder::serves(places)) {
      decoder.decode(gaps + place, count, place, unit.offsets + place, cuts, unit.ids);
      continue;
    }
#endif
    f32_csr::decode_row(places, gaps + place, count, place, unit.offsets + place, cuts);
  }
}

void decode(Unit& unit) {
  const Groups& groups = *unit.call.weights.groups;
  const f32_csr::Weights& rows = groups.rows;
  const int64_t first = rows.begin(unit.first_row), count = rows.begin(unit.last_row) - first;
  const int64_t odd = first % 2;
  if (groups.halves) {
    spread_halves(groups.gaps.data() + first / 2, count + odd, unit.gaps);
    decode_offsets(unit, unit.gaps + odd);
  } else if (rows.gaps.type == element_uint8) {
    decode_offsets(unit, rows.gaps.as<uint8_t>() + first);
  } else if (rows.gaps.type == element_uint16) {
    decode_offsets(unit, rows.gaps.as<uint16_t>() + first);
  } else {
    decode_offsets(unit, rows.gaps.as<uint32_t>() + first);
  }
  // Masks lie two in a byte: where the first group is the second of a byte, the one before it is expanded too.
  const uint8_t* masks = groups.masks.data() + first / 2;
  const int64_t before = odd == 0 ? 0 : std::popcount(static_cast<unsigned>(masks[0] & 15));
  const int8_t* values = groups.values.data() + groups.first[static_cast<size_t>(unit.first_row)] - before;
  expand(masks, values, count + odd, unit.expanded);
  unit.weights = unit.expanded + odd;
}

// A tile, and where its windows lie.
struct Place {
  f32_csr::Tile tile;
  f32_csr::Windows windows;
};

// The input of one block of columns.
void arrange(const Unit& unit, const Place& place, int64_t block, float* out) {
  const f32_csr::Call& call = unit.shape;
  const f32_csr::Plan& cut = unit.plan.cut;
  const ConvGeometry& g = call.geometry;
  const int64_t column = block * cut.block_columns;
  const int64_t columns = smaller(cut.block_columns, call.weights.columns - column);
  const int64_t group_channel = unit.group * g.channels_per_group();
  if (unit.flat()) {
    interleave_tile(unit.call, place.tile, unit.group, column, columns, cut.column_bytes, reinterpret_cast<uint8_t*>(out));
  } else if (cut.layout == f32_csr::Layout::strips) {
    const int64_t window = g.kernel[0] * g.kernel[1];
    const auto arrange_strips_of = g.strides[1] == 1   ? f32_csr::arrange_strips<1>
                                   : g.strides[1] == 2 ? f32_csr::arrange_strips<2>
                                                       : f32_csr::arrange_strips<0>;
    arrange_strips_of(call, cut, place.tile, group_channel + column / window, columns / window, out);
  } else {
    f32_csr::arrange_windows(call, cut, place.tile, place.windows, group_channel, column, columns, out, unit.patches);
  }
}

// One row's sums to its places in Y.
void finish_row(const Unit& unit, const f32_csr::Tile& tile, int64_t row, const int32_t* sums) {
  const Call& call = unit.call;
  const int64_t area = call.size.output[0] * call.size.output[1];
  if (unit.one_pixel()) {
    Call turned = call;
    turned.y = unit.turned;
    const bool by_element = call.out.residual;
    if (!by_element) {
      return finish(turned, row, sums, tile.count, (row - unit.first_row) * unit.plan.cut.tile * lanes);
    }
    for (int64_t i = 0; i < tile.count; ++i) {
      finish(call, row, sums + i, 1, (tile.first + i) * call.geometry.outputs + row);
    }
    return;
  }
  const int64_t image_pitch = call.geometry.outputs * area;
  if (any_quarters && !call.out.floats) {
    const auto finish_row_runs = call.out.residual ? finish_runs<true> : finish_runs<false>;
    return finish_row_runs(call, tile, row, row * area, image_pitch, sums);
  }
  for (int64_t n = 0; n < tile.runs; ++n) {
    const f32_csr::Run& run = tile.run[n];
    finish(call, row, sums + run.position, run.length, run.image * image_pitch + row * area + run.pixel);
  }
}

// Outputs of one pixel an image: rows of the tile become columns of Y.
template <class T>
void turn(const Unit& unit, const f32_csr::Tile& tile) {
  const int64_t pitch = unit.plan.cut.tile * lanes, rows = unit.rows();
  const T* from = reinterpret_cast<const T*>(unit.turned);
  for (int64_t i = 0; i < tile.count; ++i) {
    T* to = static_cast<T*>(unit.call.y) + (tile.first + i) * unit.call.geometry.outputs + unit.first_row;
    for (int64_t row = 0; row < rows; ++row) {
      to[row] = from[row * pitch + i];
    }
  }
}

// Flat: the runs of the tile in the images that its pixels come from.
void find_images(const Unit& unit, f32_csr::Tile& tile) {
  const int64_t area = unit.call.size.output[0] * unit.call.size.output[1];
  tile.runs = 0;
  for (int64_t done = 0; done < tile.count;) {
    const int64_t image = (tile.first + done) / area, pixel = (tile.first + done) % area;
    const int64_t length = smaller(area - pixel, tile.count - done);
    f32_csr::add_run(tile, image, pixel, length, done);
    done += length;
  }
}

void find_place(const Unit& unit, int64_t index, Place& place) {
  const f32_csr::Plan& cut = unit.plan.cut;
  f32_csr::find_tile(unit.shape, cut, index, place.tile);
  if (unit.flat() && !unit.one_pixel()) {
    find_images(unit, place.tile);
  }
  if (cut.layout == f32_csr::Layout::pixels) {
    f32_csr::find_windows(unit.shape, place.tile, place.windows);
  }
}

constexpr int64_t rows_ahead = 4;

// All rows that are decoded, in one tile.
void compute_tile(const Unit& unit, const Place& place) {
  const f32_csr::Plan& cut = unit.plan.cut;
  const f32_csr::Tile& tile = place.tile;
  const int64_t pitch = unit.blocks == 1 ? 0 : cut.tile * lanes;
  const int64_t block_bytes = f32_csr::block_bytes(unit.shape, cut);
  const int64_t channel = unit.group * unit.plan.geometry.channels_per_group();
  const bool half = cut.layout != f32_csr::Layout::strips && tile.vectors * lanes - tile.count >= lanes / 2;
  const AddGroups add_groups = add_groups_of(tile.vectors, half);
  const int64_t rows = unit.rows();
  const auto* input = reinterpret_cast<const char*>(
      unit.in_place() ? unit.shape.x + channel * unit.plan.size.input[1] + tile.first : unit.input);
  for (int64_t block = 0; block < unit.blocks; ++block) {
    if (!unit.in_place() && !unit.kept) {
      arrange(unit, place, block, unit.input);
      // Offsets count from column 0, so the block's first input stands for a place before the buffer.
      input = reinterpret_cast<const char*>(unit.input) - block * block_bytes;
    }
    const bool last = block + 1 == unit.blocks;
    const uint32_t* cuts = unit.cuts + block;
    int32_t* sums = unit.sums;
    for (int64_t row = 0; row < rows; ++row, cuts += unit.blocks + 1, sums += pitch) {
      // A row's groups of one block are short and far from those of the next row: the hardware sees no pattern.
      const uint32_t ahead = unit.cuts[block + smaller(row + rows_ahead, rows - 1) * (unit.blocks + 1)];
      __builtin_prefetch(unit.offsets + ahead);
      __builtin_prefetch(unit.weights + ahead);
      add_groups(input, unit.offsets + cuts[0], unit.weights + cuts[0], int64_t{cuts[1]} - cuts[0], sums,
                 block == 0 ? unit.call.out.bias + unit.first_row + row : nullptr);
      if (last) {
        finish_row(unit, tile, unit.first_row + row, sums);
      }
    }
  }
  if (unit.one_pixel() && !unit.call.out.residual) {
    unit.call.out.floats ? turn<float>(unit, tile) : turn<uint8_t>(unit, tile);
  }
}

// Slice after slice of the rows, in the only tile.
void compute_slices(Unit& unit) {
  const int64_t block_floats = f32_csr::block_bytes(unit.shape, unit.plan.cut) / 4, end = unit.last_row;
  Place place;
  find_place(unit, unit.first_tile, place);
  for (int64_t block = 0; block < unit.blocks && !unit.in_place(); ++block) {
    arrange(unit, place, block, unit.input + block * block_floats);
  }
  while (unit.first_row < end) {
    unit.last_row = slice_end(unit, unit.first_row, end);
    decode(unit);
    compute_tile(unit, place);
    unit.first_row = unit.last_row;
  }
}

void interleave(const Call& call, const Plan& plan, size_t unit, uint8_t* planes) noexcept {
  const auto number = static_cast<int64_t>(unit);
  if (plan.layout == Layout::vector) {
    return copy_pixel(call, number, plan.bundles->chunks * chunk_channels, planes);
  }
  const int64_t channels = plan.geometry.channels, quads = plan.geometry.channels_per_group();
  if (plan.layout == Layout::flat && call.matrix) {
    const int64_t first = number * rows_at_once;
    transpose_rows(call, first, smaller(first + rows_at_once, call.size.batch), plan.size.input[1], planes);
  } else if (plan.layout == Layout::flat) {
    interleave_flat(call, number / quads, number % quads, planes + number * plan.size.input[1] * group_channels);
  } else {
    const int64_t plane = plan.size.input[0] * plan.size.input[1] * group_channels;
    const int64_t channel = number % channels;
    interleave_padded(call, four_planes(call, number / channels, channel / quads, channel % quads), plan.size,
                      planes + number * plane);
  }
}

bool run_unit(const Call& call, const Plan& plan, const uint8_t* planes, size_t index) noexcept {
  if (plan.layout == Layout::reference) {
    return reference.run(call, plan, planes, index);
  }
  if (plan.layout == Layout::vector) {
    const auto bundles = static_cast<size_t>(ceil_div(call.geometry.outputs, bundle_rows));
    run_bundles(call, *plan.bundles, planes, static_cast<int64_t>(bundles * index / plan.cut.units),
                static_cast<int64_t>(bundles * (index + 1) / plan.cut.units));
    return true;
  }
  const f32_csr::Call shape = as_floats(call, plan, planes);
  Unit unit{call, plan, shape};
  find_unit(index, unit);
  if (unit.rows() == 0) {
    return true;
  }
  find_slices(unit);
  if (!allocate(unit)) {
    return false;
  }
  if (plan.cut.layout == f32_csr::Layout::strips) {
    f32_csr::fill_columns(unit.plan.geometry, unit.plan.cut, unit.columns);
  }
  if (unit.kept) {
    compute_slices(unit);
    return true;
  }
  decode(unit);
  for (int64_t tile = unit.first_tile; tile < unit.last_tile; ++tile) {
    Place place;
    find_place(unit, tile, place);
    compute_tile(unit, place);
  }
  return true;
}

}  // namespace

extern const Kernels SPARSE_EXPORT_TARGET_NAME = {make_plan, interleave, run_unit, take_floats, take_integers, take_pixel};

}  // namespace sparse_export::s8_csr
