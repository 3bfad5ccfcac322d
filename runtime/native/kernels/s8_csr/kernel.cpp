// Sparse int8 weights times dense 8-bit activations, one source for every target.
//
// A non-empty group of four input channels ("group") adds its dot products with a shifted tile of the input, four
// channels interleaved, to the output tile of its row. Tiles, strips and blocks are those of f32_csr.
#include "core/scratch.h"
#include "epilogue.h"
#include "halves.h"
#include "interleave.h"
#include "kernels/f32_csr/windows.h"
#include "plan.h"
#include "requantize.h"
#include "taking.h"
#include "tile.h"
#include "vector.h"

namespace sparse_export::s8_csr {
namespace {

// Everything a unit needs to know: its rows, its tiles, and its pieces of the scratch memory.
struct Unit {
  const Call& call;
  const Plan& plan;
  const f32_csr::Call& shape;
  int64_t group = 0, first_row = 0, last_row = 0, first_tile = 0, last_tile = 0;
  int64_t blocks = 1;
  uint32_t* offsets = nullptr;        // of the unit's groups: bytes from the first input of column 0
  uint8_t* gaps = nullptr;            // of the unit's groups, a byte each
  uint32_t* expanded = nullptr;       // memory of `weights`
  const uint32_t* weights = nullptr;  // of the unit's groups, four each
  uint32_t* cuts = nullptr;           // [rows][blocks + 1]: where a row's groups of a block begin
  uint32_t* ids = nullptr;            // [blocks]: which blocks of a row have groups, while it is decoded
  uint32_t* columns = nullptr;        // strips: offset of each weight column
  int32_t* sums = nullptr;            // [rows][tile]; of one row where there is one block
  float* input = nullptr;             // one block
  float* patches = nullptr;           // see arrange_windows
  char* turned = nullptr;             // [rows][tile] outputs, where Y has one pixel an image

  int64_t rows() const { return last_row - first_row; }
  bool flat() const { return plan.layout == Layout::flat; }
  bool one_pixel() const { return call.size.output[0] * call.size.output[1] == 1; }
};

// First row of chunk `index` of `chunks`: every chunk has about the same number of groups (and rows, a little).
int64_t chunk_begin(const f32_csr::Call& call, int64_t group, int64_t index, int64_t chunks) {
  constexpr int64_t row_cost = 8;
  const int64_t first = group * call.geometry.outputs_per_group();
  const int64_t end = first + call.geometry.outputs_per_group();
  const int64_t start = call.weights.begin(first);
  const int64_t all = call.weights.begin(end) - start + row_cost * (end - first);
  int64_t low = first, high = end;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    const int64_t cost = call.weights.begin(middle) - start + row_cost * (middle - first);
    if (cost * chunks < all * index) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

void find_unit(size_t index, Unit& unit) {
  const f32_csr::Plan& cut = unit.plan.cut;
  const auto number = static_cast<int64_t>(index);
  const int64_t part = number % cut.tile_parts;
  const int64_t chunk = number / cut.tile_parts % cut.row_chunks;
  unit.group = number / cut.tile_parts / cut.row_chunks;
  unit.first_row = chunk_begin(unit.shape, unit.group, chunk, cut.row_chunks);
  unit.last_row = chunk_begin(unit.shape, unit.group, chunk + 1, cut.row_chunks);
  unit.first_tile = cut.tiles * part / cut.tile_parts;
  unit.last_tile = cut.tiles * (part + 1) / cut.tile_parts;
  unit.blocks = ceil_div(unit.shape.weights.columns, cut.block_columns);
}

bool allocate(Unit& unit) {
  const auto pad = [](int64_t bytes) { return static_cast<size_t>((bytes + 63) / 64 * 64); };
  const f32_csr::Weights& groups = unit.shape.weights;
  const f32_csr::Plan& cut = unit.plan.cut;
  const int64_t entries = groups.begin(unit.last_row) - groups.begin(unit.first_row);
  const int64_t tile_bytes = cut.tile * vector_bytes;
  const size_t sizes[] = {
      pad((entries + lanes) * 4),      // decoding writes whole vectors
      pad((entries + 2 * lanes) * 4),  // and begins at an even group
      pad((unit.rows() * (unit.blocks + 1) + lanes) * 4),
      pad((unit.blocks + lanes) * 4),
      pad(cut.layout == f32_csr::Layout::strips ? groups.columns * 4 : 0),
      pad((unit.blocks == 1 ? 1 : unit.rows()) * tile_bytes) + vector_bytes,  // whole vectors are read
      unit.flat() ? 0 : pad(f32_csr::block_bytes(unit.shape, cut)) + vector_bytes,
      cut.layout == f32_csr::Layout::pixels ? pad((f32_csr::patch_floats + f32_csr::patch_slack) * 4) : 0,
      unit.one_pixel() ? pad(unit.rows() * tile_bytes) : 0,
      unit.call.weights.halves ? pad(entries + 2 * spread_at_once) : 0,
  };
  size_t all = 0;
  for (const size_t size : sizes) {
    all += size;
  }
  thread_local Scratch scratch;
  char* data = scratch.reserve(all);
  if (data == nullptr) {
    return false;
  }
  const auto take = [&](size_t index) {
    char* piece = data;
    data += sizes[index];
    return piece;
  };
  unit.offsets = reinterpret_cast<uint32_t*>(take(0));
  unit.expanded = reinterpret_cast<uint32_t*>(take(1));
  unit.cuts = reinterpret_cast<uint32_t*>(take(2));
  unit.ids = reinterpret_cast<uint32_t*>(take(3));
  unit.columns = reinterpret_cast<uint32_t*>(take(4));
  unit.sums = reinterpret_cast<int32_t*>(take(5));
  unit.input = reinterpret_cast<float*>(take(6));
  unit.patches = reinterpret_cast<float*>(take(7));
  unit.turned = take(8);
  unit.gaps = reinterpret_cast<uint8_t*>(take(9));
  return true;
}

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
  const Weights& weights = unit.call.weights;
  const f32_csr::Weights& groups = weights.groups;
  const int64_t first = groups.begin(unit.first_row), count = groups.begin(unit.last_row) - first;
  const int64_t odd = first % 2;
  if (weights.halves) {
    spread_halves(weights.gaps.data() + first / 2, count + odd, unit.gaps);
    decode_offsets(unit, unit.gaps + odd);
  } else if (groups.gaps.type == element_uint8) {
    decode_offsets(unit, groups.gaps.as<uint8_t>() + first);
  } else if (groups.gaps.type == element_uint16) {
    decode_offsets(unit, groups.gaps.as<uint16_t>() + first);
  } else {
    decode_offsets(unit, groups.gaps.as<uint32_t>() + first);
  }
  // Masks lie two in a byte: where the first group is the second of a byte, the one before it is expanded too.
  const uint8_t* masks = weights.masks.data() + first / 2;
  const int64_t before = odd == 0 ? 0 : std::popcount(static_cast<unsigned>(masks[0] & 15));
  const int8_t* values = weights.values.data() + weights.first[static_cast<size_t>(unit.first_row)] - before;
  expand(masks, values, count + odd, unit.expanded);
  unit.weights = unit.expanded + odd;
}

const char* arrange(const Unit& unit, const f32_csr::Tile& tile, const f32_csr::Windows& windows, int64_t block) {
  const f32_csr::Call& call = unit.shape;
  const f32_csr::Plan& cut = unit.plan.cut;
  const ConvGeometry& g = call.geometry;
  const int64_t column = block * cut.block_columns;
  const int64_t columns = smaller(cut.block_columns, call.weights.columns - column);
  const int64_t group_channel = unit.group * g.channels_per_group();
  if (cut.layout == f32_csr::Layout::strips) {
    const int64_t window = g.kernel[0] * g.kernel[1];
    const auto arrange_strips_of = g.strides[1] == 1   ? f32_csr::arrange_strips<1>
                                   : g.strides[1] == 2 ? f32_csr::arrange_strips<2>
                                                       : f32_csr::arrange_strips<0>;
    arrange_strips_of(call, cut, tile, group_channel + column / window, columns / window, unit.input);
  } else {
    f32_csr::arrange_windows(call, cut, tile, windows, group_channel, column, columns, unit.input, unit.patches);
  }
  return reinterpret_cast<const char*>(unit.input);
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

constexpr int64_t rows_ahead = 4;

void compute_tile(const Unit& unit, int64_t index) {
  const f32_csr::Plan& cut = unit.plan.cut;
  f32_csr::Tile tile;
  f32_csr::find_tile(unit.shape, cut, index, tile);
  if (unit.flat() && !unit.one_pixel()) {
    find_images(unit, tile);
  }
  f32_csr::Windows windows;
  if (cut.layout == f32_csr::Layout::pixels) {
    f32_csr::find_windows(unit.shape, tile, windows);
  }
  const int64_t pitch = unit.blocks == 1 ? 0 : cut.tile * lanes;
  const int64_t channel = unit.group * unit.plan.geometry.channels_per_group();
  const auto* flat = reinterpret_cast<const char*>(unit.shape.x + channel * unit.plan.size.input[1] + tile.first);
  const bool half = cut.layout != f32_csr::Layout::strips && tile.vectors * lanes - tile.count >= lanes / 2;
  const AddGroups add_groups = add_groups_of(tile.vectors, half);
  const int64_t rows = unit.rows();
  for (int64_t block = 0; block < unit.blocks; ++block) {
    // Offsets count from column 0, so the block's first input stands for a place before the buffer.
    const char* input =
        unit.flat() ? flat : arrange(unit, tile, windows, block) - block * f32_csr::block_bytes(unit.shape, cut);
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
  if (!allocate(unit)) {
    return false;
  }
  if (plan.cut.layout == f32_csr::Layout::strips) {
    f32_csr::fill_columns(unit.plan.geometry, unit.plan.cut, unit.columns);
  }
  decode(unit);
  for (int64_t tile = unit.first_tile; tile < unit.last_tile; ++tile) {
    compute_tile(unit, tile);
  }
  return true;
}

}  // namespace

extern const Kernels SPARSE_EXPORT_TARGET_NAME = {make_plan, interleave, run_unit, take_floats, take_integers, take_pixel};

}  // namespace sparse_export::s8_csr
