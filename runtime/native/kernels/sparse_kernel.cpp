// Sparse weights times dense activations: direct convolution and matrix products, one source for every target.
//
// A non-zero ("tap") adds value x (a shifted tile of the input) to the output tile of its row. The tile stays in
// registers while a row's taps of one block of columns pass; the block's input stays in the L1/L2 cache while all
// rows of the chunk pass. Every load of a tap is aligned: a load that straddles two cache lines costs two.
// Idea: Park et al., "Faster CNNs with Direct Sparse Convolutions and Guided Pruning", ICLR 2017 (direct sparse
// convolution), without its restriction to unit strides and with blocking over channels.
#include <cstdlib>

#include "sparse_decode.h"
#include "sparse_pack.h"
#include "sparse_plan.h"
#include "sparse_tile.h"
#include "sparse_vector.h"

namespace sparse_export {
namespace {

// Scratch of one thread, kept between calls: allocating megabytes afresh costs more than a small layer.
struct Arena {
  char* data = nullptr;
  size_t capacity = 0;
  ~Arena() { std::free(data); }
};

char* scratch(size_t bytes) {
  thread_local Arena arena;
  if (arena.capacity < bytes) {
    std::free(arena.data);
    arena.capacity = (bytes + 4095) / 4096 * 4096;
    arena.data = static_cast<char*>(std::aligned_alloc(4096, arena.capacity));
    if (arena.data == nullptr) {
      arena.capacity = 0;
    }
  }
  return arena.data;
}

// Everything a unit needs to know: its rows, its tiles, and its pieces of the scratch memory.
struct Unit {
  const SparseCall& call;
  const SparsePlan& plan;
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
  float* patches = nullptr;     // pixels: see pack_windows
  int64_t rows() const { return last_row - first_row; }
};

// First row of chunk `index` of `chunks`: every chunk has about the same number of entries (and rows, a little).
int64_t chunk_begin(const SparseCall& call, int64_t group, int64_t index, int64_t chunks) {
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
  const SparsePlan& plan = unit.plan;
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
  const auto pad = [](int64_t bytes) { return static_cast<size_t>((bytes + 63) / 64 * 64); };
  const CsrWeights& weights = unit.call.weights;
  const bool strips = unit.plan.layout == SparseLayout::strips;
  const bool direct = unit.plan.layout == SparseLayout::direct;
  const int64_t entries = weights.begin(unit.last_row) - weights.begin(unit.first_row);
  const size_t sizes[] = {
      pad((entries + lanes) * 4),  // decoding writes whole vectors
      pad(weights.values.type == abi::element_float ? 0 : entries * 4),
      pad((unit.rows() * (unit.blocks + 1) + lanes) * 4),
      pad((unit.blocks + lanes) * 4),
      pad(strips ? weights.columns * 4 : 0),
      pad(unit.rows() * unit.plan.tile * vector_bytes),
      direct ? 0 : pad(block_bytes(unit.call, unit.plan)) + vector_bytes,  // packing writes whole vectors
      unit.plan.layout == SparseLayout::pixels ? pad((patch_floats + patch_slack) * 4) : 0,
  };
  size_t all = 0;
  for (const size_t size : sizes) {
    all += size;
  }
  char* data = scratch(all);
  if (data == nullptr) {
    return false;
  }
  const auto take = [&](size_t index) {
    char* piece = data;
    data += sizes[index];
    return piece;
  };
  unit.offsets = reinterpret_cast<uint32_t*>(take(0));
  unit.converted = reinterpret_cast<float*>(take(1));
  unit.cuts = reinterpret_cast<uint32_t*>(take(2));
  unit.ids = reinterpret_cast<uint32_t*>(take(3));
  unit.columns = reinterpret_cast<uint32_t*>(take(4));
  unit.sums = reinterpret_cast<float*>(take(5));
  unit.input = reinterpret_cast<float*>(take(6));
  unit.patches = reinterpret_cast<float*>(take(7));
  return true;
}

// Strips: where the inputs of each weight column begin.
void fill_columns(Unit& unit) {
  const ConvGeometry& g = unit.call.geometry;
  const SparsePlan& plan = unit.plan;
  int64_t index_of_row[max_window];
  int64_t phase_of_index[max_window];
  used_phases(g, index_of_row, phase_of_index);
  uint32_t* out = unit.columns;
  for (int64_t c = 0; c < g.channels_per_group(); ++c) {
    for (int64_t r = 0; r < g.kernel[0]; ++r) {
      const int64_t row = index_of_row[r] * plan.phase_rows + r * g.dilations[0] / g.strides[0];
      for (int64_t s = 0; s < g.kernel[1]; ++s) {
        const int64_t line = s * plan.phases * plan.phase_rows + row;
        *out++ = static_cast<uint32_t>(c * plan.channel_bytes + line * vector_bytes);
      }
    }
  }
}

template <class Gap, class Value>
void decode(Unit& unit, const Gap* gaps, const Value* values) {
  const CsrWeights& weights = unit.call.weights;
  const SparsePlan& plan = unit.plan;
  const auto& kernel = unit.call.geometry.kernel;
  const bool strips = plan.layout == SparseLayout::strips;
  const uint32_t scale = strips ? 0 : static_cast<uint32_t>(plan.column_bytes);
  const TapPlaces places{weights.columns, plan.block_columns, unit.blocks, scale, kernel[0] * kernel[1], plan.channel_bytes,
                         unit.columns};
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
  unit.values = weights.values.type == abi::element_float ? weights.values.as<float>() + first : unit.converted;
}

const char* pack(const Unit& unit, const Tile& tile, const Windows& windows, int64_t block) {
  const SparseCall& call = unit.call;
  const SparsePlan& plan = unit.plan;
  const ConvGeometry& g = call.geometry;
  const int64_t column = block * plan.block_columns;
  const int64_t columns = smaller(plan.block_columns, call.weights.columns - column);
  const int64_t group_channel = unit.group * g.channels_per_group();
  if (plan.layout == SparseLayout::direct) {
    const int64_t area = call.size.input[0] * call.size.input[1];
    const float* plane = call.x + (tile.image * g.channels + group_channel + column) * area;
    return reinterpret_cast<const char*>(plane + tile.first);
  }
  if (plan.layout == SparseLayout::strips) {
    const int64_t window = g.kernel[0] * g.kernel[1];
    const auto pack_strips_of = g.strides[1] == 1 ? pack_strips<1> : g.strides[1] == 2 ? pack_strips<2> : pack_strips<0>;
    pack_strips_of(call, plan, tile, group_channel + column / window, columns / window, unit.input);
  } else if (is_matrix_product(call)) {
    pack_transposed(call, plan, tile, group_channel + column, columns, unit.input);
  } else if (is_plain(call)) {
    pack_plain(call, plan, tile, group_channel + column, columns, unit.input);
  } else {
    pack_windows(call, plan, tile, windows, group_channel, column, columns, unit.input, unit.patches);
  }
  return reinterpret_cast<const char*>(unit.input);
}

// Scale, bias, residual, bounds: from the sums of one row to its output.
void finish(const SparseCall& call, const Tile& tile, int64_t row, const float* sums) {
  const int64_t area = call.size.output[0] * call.size.output[1];
  const Vec scale = broadcast(call.scale[row]);
  const Vec bias = broadcast(call.bias[row]);
  const Vec low = broadcast(call.bounds.low);
  const Vec high = broadcast(call.bounds.high);
  for (int64_t n = 0; n < tile.runs; ++n) {
    const Run& run = tile.run[n];
    const int64_t offset = (run.image * call.geometry.outputs + row) * area + run.pixel;
    const float* from = sums + run.position;
    for (int64_t i = 0; i < run.length; i += lanes) {
      const int64_t count = smaller(lanes, run.length - i);
      Vec v = load_lanes(from + i, 0, count) * scale + bias;
      if (call.residual != nullptr) {
        v += load_lanes(call.residual + offset + i, 0, count);
      }
      store_lanes(call.y + offset + i, bounded(v, low, high), count);
    }
  }
}

// Outputs of one pixel per image: rows are contiguous, so write pixel by pixel.
void finish_transposed(const Unit& unit, const Tile& tile) {
  const SparseCall& call = unit.call;
  const int64_t pitch = unit.plan.tile * lanes;
  for (int64_t i = 0; i < tile.count; ++i) {
    const int64_t offset = (tile.first + i) * call.geometry.outputs;
    for (int64_t row = unit.first_row; row < unit.last_row; ++row) {
      float v = unit.sums[(row - unit.first_row) * pitch + i] * call.scale[row] + call.bias[row];
      if (call.residual != nullptr) {
        v += call.residual[offset + row];
      }
      v = v < call.bounds.low ? call.bounds.low : v;
      call.y[offset + row] = v > call.bounds.high ? call.bounds.high : v;
    }
  }
}

// The epilogue of a tile whose output is one run of pixels, or one run of equal length per output row.
bool direct_epilogue(const Unit& unit, const Tile& tile, Epilogue& out) {
  const SparseCall& call = unit.call;
  const bool strips = unit.plan.layout == SparseLayout::strips;
  if (!strips && tile.runs != 1) {
    return false;
  }
  const int64_t area = call.size.output[0] * call.size.output[1];
  const int64_t offset = (tile.run[0].image * call.geometry.outputs + unit.first_row) * area + tile.run[0].pixel;
  out.y = call.y + offset;
  out.residual = call.residual == nullptr ? nullptr : call.residual + offset;
  out.step = strips ? call.size.output[1] : lanes;
  out.count = strips ? tile.run[0].length : lanes;
  out.last = strips ? tile.run[0].length : tile.count - (tile.vectors - 1) * lanes;
  out.bounds = call.bounds;
  return true;
}

// `packed`: the input of the only block is there from the call before.
void compute_tile(const Unit& unit, int64_t index, bool packed = false) {
  const SparseCall& call = unit.call;
  Tile tile;
  find_tile(call, unit.plan, index, tile);
  Windows windows;
  if (!packed && unit.plan.layout == SparseLayout::pixels && !is_plain(call)) {
    find_windows(call, tile, windows);
  }
  const int64_t pitch = unit.plan.tile * lanes;
  const int64_t area = call.size.output[0] * call.size.output[1];
  const bool transposed = area == 1;
  Epilogue epilogue{};
  const bool direct = !transposed && direct_epilogue(unit, tile, epilogue);
  Pass pass{nullptr, unit.offsets, unit.values, unit.cuts, unit.blocks + 1, unit.rows(), unit.sums, pitch, true,
            nullptr, call.scale + unit.first_row, call.bias + unit.first_row, area};
  const AddTaps add_taps = unit.plan.narrow ? add_taps_narrow : add_taps_of(tile.vectors);
  for (int64_t block = 0; block < unit.blocks; ++block, ++pass.cuts) {
    // Offsets count from column 0, so the block's first input stands for a place before the buffer.
    pass.input = packed ? reinterpret_cast<const char*>(unit.input)
                        : pack(unit, tile, windows, block) - block * block_bytes(call, unit.plan);
    pass.fresh = block == 0;
    pass.out = direct && block + 1 == unit.blocks ? &epilogue : nullptr;
    add_taps(pass);
  }
  for (int64_t i = 0; !direct && !transposed && i < unit.rows(); ++i) {
    finish(call, tile, unit.first_row + i, unit.sums + i * pitch);
  }
  if (transposed) {
    finish_transposed(unit, tile);
  }
}

// One tile whose input is packed at once: every tap is used once, so a few rows are decoded at a time.
void compute_rows(Unit& unit) {
  constexpr int64_t most_taps = 8 << 10;  // their offsets stay in the L1 cache
  const CsrWeights& weights = unit.call.weights;
  const int64_t last = unit.last_row;
  for (bool packed = false; unit.first_row < last; packed = true, unit.first_row = unit.last_row) {
    const int64_t begin = weights.begin(unit.first_row);
    unit.last_row = unit.first_row + 1;
    while (unit.last_row < last && weights.begin(unit.last_row + 1) - begin <= most_taps) {
      ++unit.last_row;
    }
    with_csr_types(weights, [&](const auto* gaps, const auto* values) { decode(unit, gaps, values); });
    compute_tile(unit, unit.first_tile, packed);
  }
}

bool run(const SparseCall& call, const SparsePlan& plan, size_t index) noexcept {
  if (plan.layout == SparseLayout::plain) {
    return sparse_reference.run(call, plan, index);
  }
  Unit unit{call, plan};
  find_unit(index, unit);
  if (plan.layout == SparseLayout::vector) {
    with_csr_types(call.weights, [&](const auto* gaps, const auto* values) {
      multiply_vector(call, unit.first_row, unit.last_row, gaps, values);
    });
    return true;
  }
  if (unit.rows() == 0) {
    return true;
  }
  if (!allocate(unit)) {
    return false;
  }
  if (plan.layout == SparseLayout::strips) {
    fill_columns(unit);
  }
  if (plan.layout == SparseLayout::pixels && unit.blocks == 1 && unit.last_tile - unit.first_tile == 1) {
    compute_rows(unit);
    return true;
  }
  with_csr_types(call.weights, [&](const auto* gaps, const auto* values) { decode(unit, gaps, values); });
  for (int64_t tile = unit.first_tile; tile < unit.last_tile; ++tile) {
    compute_tile(unit, tile);
  }
  return true;
}

}  // namespace

extern const SparseKernels SPARSE_EXPORT_JOIN(sparse_, SPARSE_EXPORT_TARGET_NAME) = {make_plan, run};

}  // namespace sparse_export
