// Sparse weights times dense activations: direct convolution and matrix products, one source for every target.
//
// A non-zero ("tap") adds value x (a shifted tile of the input) to the output tile of its row. The tile stays in
// registers while a row's taps of one block of columns pass; the block's input stays in the L1/L2 cache while all
// rows of the chunk pass. Every load of a tap is aligned: a load that straddles two cache lines costs two.
// Idea: Park et al., "Faster CNNs with Direct Sparse Convolutions and Guided Pruning", ICLR 2017 (direct sparse
// convolution), without its restriction to unit strides and with blocking over channels.
#include <cstdlib>
#include <utility>

#include "sparse_pack.h"
#include "sparse_vector.h"

namespace sparse_export {
namespace {

struct Tap {
  uint32_t offset;  // bytes from the block's first input
  float value;
};

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

// ---- The inner loop -------------------------------------------------------------------------------------------------

// tile (+)= sum over taps of value * input[offset ...]. Few vectors need several sets of accumulators to hide the
// latency of the multiply-add.
template <int T>
void accumulate(const char* input, const Tap* tap, int64_t count, float* tile, bool fresh) {
  constexpr int sets = T >= 8 ? 1 : T >= 4 ? 2 : T >= 2 ? 4 : 8;
  Vec sum[sets][T] = {};
  if (!fresh) {
#pragma GCC unroll 16
    for (int i = 0; i < T; ++i) {
      sum[0][i] = load_aligned(tile + i * lanes);
    }
  }
  const Tap* const end = tap + count;
  for (; tap + sets <= end; tap += sets) {
#pragma GCC unroll 8
    for (int set = 0; set < sets; ++set) {
      const auto* from = reinterpret_cast<const float*>(input + tap[set].offset);
      const Vec value = broadcast(tap[set].value);
#pragma GCC unroll 16
      for (int i = 0; i < T; ++i) {
        sum[set][i] += value * load_aligned(from + i * lanes);
      }
    }
  }
  for (; sets > 1 && tap < end; ++tap) {
    const auto* from = reinterpret_cast<const float*>(input + tap->offset);
    const Vec value = broadcast(tap->value);
#pragma GCC unroll 16
    for (int i = 0; i < T; ++i) {
      sum[0][i] += value * load_aligned(from + i * lanes);
    }
  }
#pragma GCC unroll 8
  for (int set = 1; set < sets; ++set) {
#pragma GCC unroll 16
    for (int i = 0; i < T; ++i) {
      sum[0][i] += sum[set][i];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < T; ++i) {
    store_aligned(tile + i * lanes, sum[0][i]);
  }
}

using Accumulate = void (*)(const char*, const Tap*, int64_t, float*, bool);

template <int... T>
Accumulate accumulate_of(int64_t vectors, std::integer_sequence<int, T...>) {
  static constexpr Accumulate table[] = {accumulate<T + 1>...};
  return table[vectors - 1];
}

// ---- One unit of work -----------------------------------------------------------------------------------------------

// Everything a unit needs to know: its rows, its tiles, and its pieces of the scratch memory.
struct Unit {
  const SparseCall& call;
  const SparsePlan& plan;
  int64_t group = 0, first_row = 0, last_row = 0, first_tile = 0, last_tile = 0;
  int64_t blocks = 1;
  Tap* taps = nullptr;
  uint32_t* cuts = nullptr;     // [rows][blocks + 1]: where a row's taps of a block begin
  uint32_t* offsets = nullptr;  // [block_columns]: of a column, from the block's first input
  float* sums = nullptr;        // [rows][tile]
  float* input = nullptr;       // one block
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

size_t block_bytes(const SparseCall& call, const SparsePlan& plan) {
  if (plan.layout == SparseLayout::strips) {
    const int64_t window = call.geometry.kernel[0] * call.geometry.kernel[1];
    return static_cast<size_t>(plan.block_columns / window * plan.channel_bytes);
  }
  return plan.layout == SparseLayout::direct ? 0 : static_cast<size_t>(plan.block_columns * plan.column_bytes);
}

bool allocate(Unit& unit) {
  const auto pad = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
  const size_t rows = static_cast<size_t>(unit.rows());
  const size_t entries =
      static_cast<size_t>(unit.call.weights.begin(unit.last_row) - unit.call.weights.begin(unit.first_row));
  const size_t taps = pad(entries * sizeof(Tap));
  const size_t cuts = pad(rows * static_cast<size_t>(unit.blocks + 1) * sizeof(uint32_t));
  const size_t offsets = pad(static_cast<size_t>(unit.plan.block_columns) * sizeof(uint32_t));
  const size_t sums = rows * static_cast<size_t>(unit.plan.tile * vector_bytes);
  char* data = scratch(taps + cuts + offsets + sums + 64 + block_bytes(unit.call, unit.plan));
  if (data == nullptr) {
    return false;
  }
  unit.taps = reinterpret_cast<Tap*>(data);
  unit.cuts = reinterpret_cast<uint32_t*>(data + taps);
  unit.offsets = reinterpret_cast<uint32_t*>(data + taps + cuts);
  unit.sums = reinterpret_cast<float*>(data + taps + cuts + offsets);
  unit.input = reinterpret_cast<float*>(data + taps + cuts + offsets + sums);
  return true;
}

void fill_offsets(Unit& unit) {
  const ConvGeometry& g = unit.call.geometry;
  const SparsePlan& plan = unit.plan;
  if (plan.layout != SparseLayout::strips) {
    for (int64_t i = 0; i < plan.block_columns; ++i) {
      unit.offsets[i] = static_cast<uint32_t>(i * plan.column_bytes);
    }
    return;
  }
  int64_t index_of_row[max_window];
  int64_t phase_of_index[max_window];
  used_phases(g, index_of_row, phase_of_index);
  uint32_t* out = unit.offsets;
  for (int64_t c = 0; c < plan.block_columns / (g.kernel[0] * g.kernel[1]); ++c) {
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
  Tap* tap = unit.taps;
  uint32_t* cut = unit.cuts;
  for (int64_t row = unit.first_row; row < unit.last_row; ++row) {
    int64_t entry = weights.begin(row);
    const int64_t end = weights.begin(row + 1);
    int64_t column = -1;
    for (int64_t block = 0; block < unit.blocks; ++block) {
      const int64_t base = block * unit.plan.block_columns;
      const int64_t limit = base + unit.plan.block_columns;
      *cut++ = static_cast<uint32_t>(tap - unit.taps);
      for (; entry < end; ++entry, ++tap) {
        const int64_t next = column + 1 + gaps[entry];
        if (next >= limit) {
          break;
        }
        column = next;
        *tap = {unit.offsets[column - base], static_cast<float>(values[entry])};
      }
    }
    *cut++ = static_cast<uint32_t>(tap - unit.taps);
  }
}

// One pixel in, one pixel out: X is a matrix [batch, channels].
bool is_matrix_product(const SparseCall& call) {
  const auto one = [](const std::array<int64_t, 2>& extent) { return extent[0] * extent[1] == 1; };
  const bool padded = call.geometry.begin[0] != 0 || call.geometry.begin[1] != 0;
  return one(call.size.input) && one(call.size.output) && one(call.geometry.kernel) && !padded;
}

const char* pack(const Unit& unit, const Tile& tile, int64_t block) {
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
    pack_strips(call, plan, tile, group_channel + column / window, columns / window, unit.input);
  } else if (is_matrix_product(call)) {
    pack_transposed(call, plan, tile, group_channel + column, columns, unit.input);
  } else {
    pack_pixels(call, plan, tile, group_channel, column, columns, unit.input);
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

void compute_tile(const Unit& unit, int64_t index) {
  Tile tile;
  find_tile(unit.call, unit.plan, index, tile);
  const Accumulate sum = accumulate_of(tile.vectors, std::make_integer_sequence<int, max_tile>());
  const int64_t pitch = unit.plan.tile * lanes;
  const bool transposed = unit.call.size.output[0] * unit.call.size.output[1] == 1;
  for (int64_t block = 0; block < unit.blocks; ++block) {
    const char* input = pack(unit, tile, block);
    const bool last = block + 1 == unit.blocks && !transposed;
    for (int64_t i = 0; i < unit.rows(); ++i) {
      const uint32_t* cut = unit.cuts + i * (unit.blocks + 1) + block;
      float* sums = unit.sums + i * pitch;
      sum(input, unit.taps + cut[0], static_cast<int64_t>(cut[1]) - cut[0], sums, block == 0);
      if (last) {
        finish(unit.call, tile, unit.first_row + i, sums);
      }
    }
  }
  if (transposed) {
    finish_transposed(unit, tile);
  }
}

bool run(const SparseCall& call, const SparsePlan& plan, size_t index) noexcept {
  Unit unit{call, plan};
  find_unit(index, unit);
  if (plan.layout == SparseLayout::vector) {
    return true;
  }
  if (unit.rows() == 0) {
    return true;
  }
  if (!allocate(unit)) {
    return false;
  }
  fill_offsets(unit);
  with_csr_types(call.weights, [&](const auto* gaps, const auto* values) { decode(unit, gaps, values); });
  for (int64_t tile = unit.first_tile; tile < unit.last_tile; ++tile) {
    compute_tile(unit, tile);
  }
  return true;
}

// ---- Planning -------------------------------------------------------------------------------------------------------

constexpr int64_t target_bytes = 64 << 10;   // a block's input: L1 plus some of L2
constexpr int64_t most_bytes = 192 << 10;    // when that holds too few taps per row
constexpr int64_t taps_per_pass = 12;        // that pay for reading and writing the sums
constexpr int64_t chunk_taps = 64 << 10;     // taps decoded at a time
constexpr int64_t chunk_rows = 512;

void plan_strips(const SparseCall& call, SparsePlan& plan) {
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

void plan_pixels(const SparseCall& call, SparsePlan& plan) {
  const int64_t area = call.size.output[0] * call.size.output[1];
  const bool direct = plan.layout == SparseLayout::direct;
  const int64_t vectors = ceil_div(direct ? area : area * call.size.batch, lanes);
  const int64_t tiles = ceil_div(vectors, max_tile);
  plan.tile = ceil_div(vectors, tiles);
  plan.strips = ceil_div(vectors, plan.tile);
  plan.tiles = direct ? plan.strips * call.size.batch : plan.strips;
  plan.column_bytes = direct ? area * 4 : plan.tile * vector_bytes;
}

SparseLayout choose_layout(const SparseCall& call) {
  const ConvGeometry& g = call.geometry;
  const int64_t height = call.size.output[0];
  const int64_t width = call.size.output[1];
  if (g.kernel[0] * g.kernel[1] == 1) {
    const bool plain = g.strides[0] * g.strides[1] == 1 && call.size.input == call.size.output;
    // Planes a multiple of 4096 bytes apart would all fall into the same few cache sets.
    const bool spread = height * width * 4 % 4096 != 0;
    const bool aligned = height * width % lanes == 0 && reinterpret_cast<uintptr_t>(call.x) % vector_bytes == 0;
    return plain && spread && aligned ? SparseLayout::direct : SparseLayout::pixels;
  }
  if (height < 4 || g.kernel[0] > max_window || g.kernel[1] > max_window) {
    return SparseLayout::pixels;
  }
  SparsePlan strips;
  plan_strips(call, strips);
  const int64_t pixel_vectors = ceil_div(height * width * call.size.batch, lanes);
  const int64_t strip_vectors = strips.strips * height * call.size.batch;
  const bool tight = strip_vectors * 10 <= pixel_vectors * 14;
  const bool compact = strips.channel_bytes <= g.kernel[0] * g.kernel[1] * max_tile * vector_bytes;
  return tight && compact ? SparseLayout::strips : SparseLayout::pixels;
}

void plan_blocks(const SparseCall& call, SparsePlan& plan) {
  const ConvGeometry& g = call.geometry;
  const int64_t columns = call.weights.columns;
  const bool strips = plan.layout == SparseLayout::strips;
  const int64_t grain = strips ? g.kernel[0] * g.kernel[1] : 1;
  const int64_t bytes = strips                                    ? plan.channel_bytes
                        : plan.layout == SparseLayout::direct ? plan.tile * vector_bytes
                                                                  : plan.column_bytes;
  const int64_t entries = larger(call.weights.entries, 1);
  const int64_t wanted = taps_per_pass * call.weights.rows * columns / entries / grain;
  const int64_t grains = larger(1, smaller(larger(target_bytes / bytes, wanted), most_bytes / bytes));
  const int64_t all = columns / grain;
  plan.block_columns = ceil_div(all, ceil_div(all, grains)) * grain;
}

void plan_units(const SparseCall& call, int64_t threads, SparsePlan& plan) {
  const int64_t groups = call.geometry.groups;
  const int64_t rows = call.geometry.outputs_per_group();
  const int64_t entries = call.weights.entries / groups;
  plan.row_chunks = smaller(rows, larger(ceil_div(entries, chunk_taps), ceil_div(rows, chunk_rows)));
  plan.tile_parts = 1;
  if (threads > 1) {
    const int64_t wanted = threads * 3;
    plan.tile_parts = smaller(plan.tiles, ceil_div(wanted, plan.row_chunks * groups));
    if (plan.tile_parts * plan.row_chunks * groups < wanted) {
      plan.row_chunks = smaller(rows, ceil_div(ceil_div(threads, plan.tile_parts * groups), plan.row_chunks) * plan.row_chunks);
    }
  }
  plan.units = static_cast<size_t>(groups * plan.row_chunks * plan.tile_parts);
}

void plan(const SparseCall& call, size_t threads, SparsePlan& plan) {
  plan.layout = choose_layout(call);
  if (plan.layout == SparseLayout::strips) {
    plan_strips(call, plan);
  } else {
    plan_pixels(call, plan);
  }
  plan_blocks(call, plan);
  plan_units(call, static_cast<int64_t>(threads), plan);
}

}  // namespace

extern const SparseKernels SPARSE_EXPORT_JOIN(sparse_, SPARSE_EXPORT_TARGET_NAME) = {plan, run};

}  // namespace sparse_export
