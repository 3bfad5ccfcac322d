// Sparse weights times dense activations: direct convolution and matrix products, one source for every target.
//
// A non-zero ("tap") adds value x (a shifted tile of the input) to the output tile of its row. The tile stays in
// registers while a row's taps of one block of columns pass; the block's input stays in the L1/L2 cache while all
// rows of the chunk pass. Every load of a tap is aligned: a load that straddles two cache lines costs two.
// Idea: Park et al., "Faster CNNs with Direct Sparse Convolutions and Guided Pruning", ICLR 2017 (direct sparse
// convolution), without its restriction to unit strides and with blocking over channels.
#include "core/scratch.h"
#include "decode.h"
#include "plan.h"
#include "tile.h"
#include "vector.h"
#include "windows.h"

namespace sparse_export::f32_csr {
namespace {

// Everything a unit needs to know: its rows, its tiles, and its pieces of the scratch memory.
struct Unit {
  const Call& call;
  const Plan& plan;
  int64_t group = 0, first_row = 0, last_row = 0, first_tile = 0, last_tile = 0;
  int64_t blocks = 1;
  uint32_t* offsets = nullptr;    // of the unit's taps: bytes from the first input of column 0
  const float* values = nullptr;  // of the unit's taps: in the model file, or converted to float32
  float* converted = nullptr;
  uint32_t* cuts = nullptr;     // [rows][blocks + 1]: where a row's taps of a block begin
  uint32_t* ids = nullptr;      // [blocks]: which blocks of a row have taps, while it is decoded
  uint32_t* columns = nullptr;  // strips: offset of each weight column
  float* sums = nullptr;        // [rows][tile]
  float* input = nullptr;       // one block
  float* patches = nullptr;     // pixels: see arrange_windows
  int32_t* totals = nullptr;    // bytes, wide: [rows][tile]
  int32_t* turned = nullptr;    // bytes, transposed: [rows] sums of one pixel
  int64_t rows() const { return last_row - first_row; }
  // One pixel an image: rows of a tile become columns of Y.
  bool transposed() const { return call.size.output[0] * call.size.output[1] == 1; }
  // Sums of bytes that are handed on as they come, row by row.
  bool by_row() const { return call.bytes != nullptr && !call.bytes->wide && !transposed() && !plan.narrow; }
  // Distance of two rows of sums.
  int64_t pitch() const { return by_row() && blocks == 1 ? 0 : plan.tile * lanes; }
};

// First row of chunk `index` of `chunks`: every chunk has about the same number of entries (and rows, a little).
int64_t chunk_begin(const Call& call, int64_t group, int64_t index, int64_t chunks) {
  constexpr int64_t row_cost = 8;
  const int64_t first = group * call.geometry.outputs_per_group();
  const int64_t end = first + call.geometry.outputs_per_group();
  const int64_t start = call.weights.begin(first);
  const int64_t all = call.weights.begin(end) - start + row_cost * (end - first);
  int64_t low = first;
  int64_t high = end;
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
  const Plan& plan = unit.plan;
  const int64_t number = static_cast<int64_t>(index);
  const int64_t part = number % plan.tile_parts;
  const int64_t chunk = number / plan.tile_parts % plan.row_chunks;
  unit.group = number / plan.tile_parts / plan.row_chunks;
  unit.first_row = chunk_begin(unit.call, unit.group, chunk, plan.row_chunks);
  unit.last_row = chunk_begin(unit.call, unit.group, chunk + 1, plan.row_chunks);
  unit.first_tile = plan.tiles * part / plan.tile_parts;
  unit.last_tile = plan.tiles * (part + 1) / plan.tile_parts;
  unit.blocks = ceil_div(unit.call.weights.columns, plan.block_columns);
}

bool allocate(Unit& unit) {
  const Weights& weights = unit.call.weights;
  const bool strips = unit.plan.layout == Layout::strips;
  const bool direct = unit.plan.layout == Layout::direct;
  const int64_t entries = weights.begin(unit.last_row) - weights.begin(unit.first_row);
  thread_local Scratch scratch;
  const auto pieces = scratch.divide<10>({
      (entries + lanes) * 4,  // decoding writes whole vectors
      weights.values.type == element_float ? 0 : entries * 4,
      (unit.rows() * (unit.blocks + 1) + lanes) * 4,
      (unit.blocks + lanes) * 4,
      strips ? weights.columns * 4 : 0,
      (unit.pitch() == 0 ? 1 : unit.rows()) * unit.plan.tile * vector_bytes,
      direct ? 0 : block_bytes(unit.call, unit.plan) + vector_bytes,  // arranging writes whole vectors
      unit.plan.layout == Layout::pixels ? (patch_floats + patch_slack) * 4 : 0,
      unit.call.bytes != nullptr && unit.call.bytes->wide ? unit.rows() * unit.plan.tile * vector_bytes : 0,
      unit.call.bytes != nullptr && unit.transposed() ? unit.rows() * 4 : 0,
  });
  if (pieces[0] == nullptr) {
    return false;
  }
  unit.offsets = reinterpret_cast<uint32_t*>(pieces[0]);
  unit.converted = reinterpret_cast<float*>(pieces[1]);
  unit.cuts = reinterpret_cast<uint32_t*>(pieces[2]);
  unit.ids = reinterpret_cast<uint32_t*>(pieces[3]);
  unit.columns = reinterpret_cast<uint32_t*>(pieces[4]);
  unit.sums = reinterpret_cast<float*>(pieces[5]);
  unit.input = reinterpret_cast<float*>(pieces[6]);
  unit.patches = reinterpret_cast<float*>(pieces[7]);
  unit.totals = reinterpret_cast<int32_t*>(pieces[8]);
  unit.turned = reinterpret_cast<int32_t*>(pieces[9]);
  return true;
}

template <class Gap, class Value>
void decode(Unit& unit, const Gap* gaps, const Value* values) {
  const Weights& weights = unit.call.weights;
  const Plan& plan = unit.plan;
  const auto& kernel = unit.call.geometry.kernel;
  const bool strips = plan.layout == Layout::strips;
  const uint32_t scale = strips ? 0 : static_cast<uint32_t>(plan.column_bytes);
  const TapPlaces places{weights.columns,       plan.block_columns, unit.blocks, scale,
                         kernel[0] * kernel[1], plan.channel_bytes, unit.columns};
  const int64_t first = weights.begin(unit.first_row);
#if defined(__AVX512F__)
  const RowDecoder decoder(places);
#endif
  uint32_t* cut = unit.cuts;
  for (int64_t row = unit.first_row; row < unit.last_row; ++row, cut += unit.blocks + 1) {
    const int64_t begin = weights.begin(row);
    const int64_t count = weights.begin(row + 1) - begin;
    const auto place = static_cast<uint32_t>(begin - first);
    constexpr int64_t values_of_line = 64 / static_cast<int64_t>(sizeof(Value));
    for (int64_t i = 0; i < count; i += values_of_line) {
      // They are read block by block later, in short pieces far apart: here they come as a stream.
      __builtin_prefetch(values + begin + i + entries_ahead, 0, 2);
    }
#if defined(__AVX512F__)
    if (RowDecoder::serves(places)) {
      decoder.decode(gaps + begin, count, place, unit.offsets + place, cut, unit.ids);
      continue;
    }
#endif
    decode_row(places, gaps + begin, count, place, unit.offsets + place, cut);
  }
  convert(values + first, weights.begin(unit.last_row) - first, unit.converted);
  unit.values = weights.values.type == element_float ? weights.values.as<float>() + first : unit.converted;
}

template <class Source>
const char* arrange_from(const Unit& unit, const Tile& tile, const Windows& windows, int64_t block) {
  const Call& call = unit.call;
  const Plan& plan = unit.plan;
  const ConvGeometry& g = call.geometry;
  const int64_t column = block * plan.block_columns;
  const int64_t columns = smaller(plan.block_columns, call.weights.columns - column);
  const int64_t group_channel = unit.group * g.channels_per_group();
  if (plan.layout == Layout::direct) {
    const int64_t area = call.size.input[0] * call.size.input[1];
    const float* plane = call.x + (tile.image * g.channels + group_channel + column) * area;
    return reinterpret_cast<const char*>(plane + tile.first);
  }
  if (plan.layout == Layout::strips) {
    const int64_t window = g.kernel[0] * g.kernel[1];
    const auto arrange_strips_of = g.strides[1] == 1   ? arrange_strips<1, Source>
                                   : g.strides[1] == 2 ? arrange_strips<2, Source>
                                                       : arrange_strips<0, Source>;
    arrange_strips_of(call, plan, tile, group_channel + column / window, columns / window, unit.input);
  } else if (is_matrix_product(call)) {
    arrange_transposed<Source>(call, plan, tile, group_channel + column, columns, unit.input);
  } else if (is_plain(call)) {
    arrange_plain<Source>(call, plan, tile, group_channel + column, columns, unit.input);
  } else {
    arrange_windows<Source>(call, plan, tile, windows, group_channel, column, columns, unit.input, unit.patches);
  }
  return reinterpret_cast<const char*>(unit.input);
}

const char* arrange(const Unit& unit, const Tile& tile, const Windows& windows, int64_t block) {
  return unit.call.bytes == nullptr ? arrange_from<Floats>(unit, tile, windows, block)
                                    : arrange_from<Eights>(unit, tile, windows, block);
}

// From the sums of one row to its output.
void finish_row(const Call& call, const Tile& tile, int64_t row, const float* sums) {
  const int64_t area = call.size.output[0] * call.size.output[1];
  const Epilogue& epilogue = call.epilogue;
  const Vec scale = broadcast(epilogue.scale[row]);
  const Vec bias = broadcast(epilogue.bias[row]);
  const ActivationVec activation = spread(epilogue.activation);
  for (int64_t n = 0; n < tile.runs; ++n) {
    const Run& run = tile.run[n];
    const int64_t offset = (run.image * call.geometry.outputs + row) * area + run.pixel;
    const float* from = sums + run.position;
    const float* residual = epilogue.residual == nullptr ? nullptr : epilogue.residual + offset;
    for (int64_t i = 0; i < run.length; i += lanes) {
      const int64_t count = smaller(lanes, run.length - i);
      const Vec y = finish(load_lanes(from + i, 0, count), scale, bias, residual == nullptr ? nullptr : residual + i,
                           count, activation);
      store_lanes(call.y + offset + i, y, count);
    }
  }
}

// Outputs of one pixel per image: rows are contiguous, so write pixel by pixel.
void finish_transposed(const Unit& unit, const Tile& tile) {
  const Call& call = unit.call;
  const int64_t pitch = unit.plan.tile * lanes;
  for (int64_t i = 0; i < tile.count; ++i) {
    const int64_t offset = (tile.first + i) * call.geometry.outputs;
    for (int64_t row = unit.first_row; row < unit.last_row; ++row) {
      const float sum = unit.sums[(row - unit.first_row) * pitch + i];
      call.y[offset + row] = finish(call.epilogue, row, sum, offset + row);
    }
  }
}

// Sums of one block of columns, added to those before as integers.
void add_totals(const Unit& unit, bool fresh) {
  const int64_t count = unit.rows() * unit.plan.tile * lanes;
  for (int64_t i = 0; i < count; i += lanes) {
    const IndexVec sum = __builtin_convertvector(load_aligned(unit.sums + i), IndexVec);
    auto* total = reinterpret_cast<IndexVec*>(unit.totals + i);
    *total = fresh ? sum : add_modulo(*total, sum);
  }
}

// A tile of bytes whose rows were not handed on yet.
void hand_on(const Unit& unit, const Tile& tile) {
  const Sums& out = unit.call.bytes->sums;
  const bool wide = unit.call.bytes->wide;
  const int64_t pitch = unit.pitch(), rows = unit.rows();
  if (!unit.transposed()) {
    for (int64_t i = 0; i < rows; ++i) {
      if (wide) {
        out.integers(out.context, unit.first_row + i, tile.run, tile.runs, unit.totals + i * pitch);
      } else {
        out.floats(out.context, unit.first_row + i, tile.run, tile.runs, unit.sums + i * pitch);
      }
    }
    return;
  }
  for (int64_t pixel = 0; pixel < tile.count; ++pixel) {
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t at = i * pitch + pixel;
      unit.turned[i] = wide ? unit.totals[at] : static_cast<int32_t>(unit.sums[at]);
    }
    const int64_t at = (tile.first + pixel) * unit.call.geometry.outputs + unit.first_row;
    out.pixel(out.context, unit.first_row, rows, unit.turned, at);
  }
}

// Where a tile goes whose output is one run of pixels, or one run of equal length per output row.
bool find_destination(const Unit& unit, const Tile& tile, Destination& out) {
  const Call& call = unit.call;
  const bool strips = unit.plan.layout == Layout::strips;
  if (call.bytes != nullptr || unit.transposed() || (!strips && tile.runs != 1)) {
    return false;
  }
  const int64_t area = call.size.output[0] * call.size.output[1];
  const int64_t offset = (tile.run[0].image * call.geometry.outputs + unit.first_row) * area + tile.run[0].pixel;
  out.y = call.y + offset;
  out.residual = call.epilogue.residual == nullptr ? nullptr : call.epilogue.residual + offset;
  out.step = strips ? call.size.output[1] : lanes;
  out.count = strips ? tile.run[0].length : lanes;
  out.last = strips ? tile.run[0].length : tile.count - (tile.vectors - 1) * lanes;
  out.activation = call.epilogue.activation;
  return true;
}

// `arranged`: the input of the only block is there from the call before.
void compute_tile(const Unit& unit, int64_t index, bool arranged = false) {
  const Call& call = unit.call;
  Tile tile;
  find_tile(call, unit.plan, index, tile);
  Windows windows;
  if (!arranged && unit.plan.layout == Layout::pixels && !is_plain(call)) {
    find_windows(call, tile, windows);
  }
  Destination destination{};
  const bool direct = find_destination(unit, tile, destination);
  const bool bytes = call.bytes != nullptr, wide = bytes && call.bytes->wide;
  const Rows rows{bytes ? call.bytes->sums : Sums{}, unit.first_row, tile.run, tile.runs};
  Pass pass{nullptr,
            unit.offsets,
            unit.values,
            unit.cuts,
            unit.blocks + 1,
            unit.rows(),
            unit.sums,
            unit.pitch(),
            true,
            nullptr,
            bytes ? nullptr : call.epilogue.scale + unit.first_row,
            bytes ? nullptr : call.epilogue.bias + unit.first_row,
            call.size.output[0] * call.size.output[1]};
  const AddTaps add_taps = unit.plan.narrow ? add_taps_narrow : add_taps_of(tile.vectors);
  for (int64_t block = 0; block < unit.blocks; ++block, ++pass.cuts) {
    // Offsets count from column 0, so the block's first input stands for a place before the buffer.
    pass.input = arranged ? reinterpret_cast<const char*>(unit.input)
                          : arrange(unit, tile, windows, block) - block * block_bytes(call, unit.plan);
    pass.fresh = block == 0 || wide;
    pass.out = direct && block + 1 == unit.blocks ? &destination : nullptr;
    pass.rows_out = unit.by_row() && block + 1 == unit.blocks ? &rows : nullptr;
    add_taps(pass);
    if (wide) {
      add_totals(unit, block == 0);
    }
  }
  if (bytes) {
    if (!unit.by_row()) {
      hand_on(unit, tile);
    }
  } else if (unit.transposed()) {
    finish_transposed(unit, tile);
  } else if (!direct) {
    for (int64_t i = 0; i < unit.rows(); ++i) {
      finish_row(call, tile, unit.first_row + i, unit.sums + i * unit.pitch());
    }
  }
}

// One tile whose input is arranged at once: every tap is used once, so a few rows are decoded at a time.
void compute_rows(Unit& unit) {
  constexpr int64_t most_taps = 8 << 10;  // their offsets stay in the L1 cache
  const Weights& weights = unit.call.weights;
  const int64_t last = unit.last_row;
  for (bool arranged = false; unit.first_row < last; arranged = true, unit.first_row = unit.last_row) {
    const int64_t begin = weights.begin(unit.first_row);
    unit.last_row = unit.first_row + 1;
    while (unit.last_row < last && weights.begin(unit.last_row + 1) - begin <= most_taps) {
      ++unit.last_row;
    }
    with_types(weights, [&](const auto* gaps, const auto* values) { decode(unit, gaps, values); });
    compute_tile(unit, unit.first_tile, arranged);
  }
}

bool run_unit(const Call& call, const Plan& plan, size_t index) noexcept {
  if (plan.layout == Layout::plain) {
    return reference.run(call, plan, index);
  }
  Unit unit{call, plan};
  find_unit(index, unit);
  if (plan.layout == Layout::vector) {
    return with_types(call.weights, [&](const auto* gaps, const auto* values) {
      return call.bytes == nullptr ? multiply_vector(call, unit.first_row, unit.last_row, gaps, values)
                                   : multiply_bytes(call, unit.first_row, unit.last_row, gaps, values);
    });
  }
  if (unit.rows() == 0) {
    return true;
  }
  if (!allocate(unit)) {
    return false;
  }
  if (plan.layout == Layout::strips) {
    fill_columns(unit.call.geometry, unit.plan, unit.columns);
  }
  if (plan.layout == Layout::pixels && unit.blocks == 1 && unit.last_tile - unit.first_tile == 1) {
    compute_rows(unit);
    return true;
  }
  with_types(call.weights, [&](const auto* gaps, const auto* values) { decode(unit, gaps, values); });
  for (int64_t tile = unit.first_tile; tile < unit.last_tile; ++tile) {
    compute_tile(unit, tile);
  }
  return true;
}

}  // namespace

extern const Kernels SPARSE_EXPORT_TARGET_NAME = {make_plan, run_unit};

}  // namespace sparse_export::f32_csr
