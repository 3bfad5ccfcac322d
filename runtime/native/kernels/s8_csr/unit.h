// A unit of a call: some rows in some tiles, decoded a slice at a time, and its pieces of the scratch memory.
#pragma once

#include "core/scratch.h"
#include "halves.h"
#include "kernels/f32_csr/windows.h"
#include "plan.h"

namespace sparse_export::s8_csr {
namespace {

// Everything a unit needs to know: its rows, its tiles, and its pieces of the scratch memory.
struct Unit {
  const Call& call;
  const Plan& plan;
  const f32_csr::Call& shape;
  int64_t group = 0, first_row = 0, last_row = 0, first_tile = 0, last_tile = 0;
  int64_t blocks = 1;
  bool kept = false;                  // the input of all blocks is kept: of the only tile
  int64_t slice_groups = 0, slice_rows = 0;  // at most: decoded at a time
  uint32_t* offsets = nullptr;        // of the unit's groups: bytes from the first input of column 0
  uint8_t* gaps = nullptr;            // of the unit's groups, a byte each
  uint32_t* expanded = nullptr;       // memory of `weights`
  const uint32_t* weights = nullptr;  // of the unit's groups, four each
  uint32_t* cuts = nullptr;           // [rows][blocks + 1]: where a row's groups of a block begin
  uint32_t* ids = nullptr;            // [blocks]: which blocks of a row have groups, while it is decoded
  uint32_t* columns = nullptr;        // strips: offset of each weight column
  int32_t* sums = nullptr;            // [rows][tile]; of one row where there is one block
  float* input = nullptr;             // one block, or all
  float* patches = nullptr;           // see arrange_windows
  char* turned = nullptr;             // [rows][tile] outputs, where Y has one pixel an image

  int64_t rows() const { return last_row - first_row; }
  bool flat() const { return plan.layout == Layout::flat; }
  bool in_place() const { return flat() && !plan.by_tile; }
  bool one_pixel() const { return call.size.output[0] * call.size.output[1] == 1; }
};

// First row of chunk `index` of `chunks`: every chunk has about the same number of groups (and rows, a little).
inline int64_t chunk_begin(const f32_csr::Call& call, int64_t group, int64_t index, int64_t chunks) {
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

inline void find_unit(size_t index, Unit& unit) {
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

constexpr int64_t slice_groups = 32 << 10;
constexpr int64_t slice_bytes = 128 << 10;  // of sums
constexpr int64_t most_kept = 512 << 10;    // bytes of input

// Rows are decoded a slice at a time where the input of all blocks can be kept: what is decoded of many weights takes
// more memory than they do.
inline void find_slices(Unit& unit) {
  const f32_csr::Weights& groups = unit.shape.weights;
  const int64_t bytes = unit.blocks * f32_csr::block_bytes(unit.shape, unit.plan.cut);
  unit.kept = unit.last_tile - unit.first_tile == 1 && (unit.in_place() || bytes <= most_kept);
  unit.slice_groups = groups.begin(unit.last_row) - groups.begin(unit.first_row);
  unit.slice_rows = unit.rows();
  if (unit.kept) {
    unit.slice_groups = smaller(unit.slice_groups, larger(slice_groups, groups.columns));  // at least a row
    const bool sums = unit.blocks > 1 || unit.one_pixel();
    unit.slice_rows = smaller(unit.slice_rows, sums ? larger(1, slice_bytes / vector_bytes / unit.plan.cut.tile) : unit.slice_rows);
  }
}

// Where the slice ends that begins at this row.
inline int64_t slice_end(const Unit& unit, int64_t row, int64_t end) {
  const f32_csr::Weights& groups = unit.shape.weights;
  const int64_t most = groups.begin(row) + unit.slice_groups;
  int64_t low = row + 1, high = smaller(end, row + unit.slice_rows);
  while (low < high) {
    const int64_t middle = high - (high - low) / 2;
    if (groups.begin(middle) <= most) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

inline bool allocate(Unit& unit) {
  const f32_csr::Weights& groups = unit.shape.weights;
  const f32_csr::Plan& cut = unit.plan.cut;
  const int64_t entries = unit.slice_groups, rows = unit.slice_rows;
  const int64_t tile_bytes = cut.tile * vector_bytes;
  thread_local Scratch scratch;
  const auto pieces = scratch.divide<10>({
      (entries + lanes) * 4,      // decoding writes whole vectors
      (entries + 2 * lanes) * 4,  // and begins at an even group
      (rows * (unit.blocks + 1) + lanes) * 4,
      (unit.blocks + lanes) * 4,
      cut.layout == f32_csr::Layout::strips ? groups.columns * 4 : 0,
      (unit.blocks == 1 ? 1 : rows) * tile_bytes + vector_bytes,  // whole vectors are read
      unit.in_place() ? 0 : (unit.kept ? unit.blocks : 1) * f32_csr::block_bytes(unit.shape, cut) + vector_bytes,
      cut.layout == f32_csr::Layout::pixels ? (f32_csr::patch_floats + f32_csr::patch_slack) * 4 : 0,
      unit.one_pixel() ? rows * tile_bytes : 0,
      unit.call.weights.groups->halves ? entries + 2 * spread_at_once : 0,
  });
  if (pieces[0] == nullptr) {
    return false;
  }
  unit.offsets = reinterpret_cast<uint32_t*>(pieces[0]);
  unit.expanded = reinterpret_cast<uint32_t*>(pieces[1]);
  unit.cuts = reinterpret_cast<uint32_t*>(pieces[2]);
  unit.ids = reinterpret_cast<uint32_t*>(pieces[3]);
  unit.columns = reinterpret_cast<uint32_t*>(pieces[4]);
  unit.sums = reinterpret_cast<int32_t*>(pieces[5]);
  unit.input = reinterpret_cast<float*>(pieces[6]);
  unit.patches = reinterpret_cast<float*>(pieces[7]);
  unit.turned = pieces[8];
  unit.gaps = reinterpret_cast<uint8_t*>(pieces[9]);
  return true;
}

}  // namespace
}  // namespace sparse_export::s8_csr
