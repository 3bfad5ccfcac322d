#include <cstring>
#include <memory>
#include <new>

#include "call.h"

namespace sparse_export::bit_bit {
namespace {

// Parts of at most `tile` pixels, as equal as vectors allow. A large call is cut into row parts too, which repeats
// the little work on its input, so that two threads or four have the same to do.
void cut_units(int64_t columns, Cut& cut) {
  constexpr int64_t grain = 8, fewest_rows = 128, most_parts = 8;
  constexpr double work = 2e7;
  const double total = static_cast<double>(cut.images * cut.groups * cut.pixels) * static_cast<double>(cut.rows) *
                       static_cast<double>(columns);
  const int64_t wanted = static_cast<int64_t>(std::min(total / work, double{most_parts}));
  cut.part_pixels = divide_up(divide_up(cut.pixels, divide_up(cut.pixels, tile)), grain) * grain;
  cut.pixel_parts = divide_up(cut.pixels, cut.part_pixels);
  const int64_t outer = cut.images * cut.groups * cut.pixel_parts;
  const int64_t cuts = std::clamp<int64_t>(divide_up(wanted, outer), 1, std::max<int64_t>(cut.rows / fewest_rows, 1));
  cut.part_rows = divide_up(divide_up(cut.rows, cuts), 64) * 64;  // packed results of a part are whole words
  cut.row_parts = divide_up(cut.rows, cut.part_rows);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = SPARSE_EXPORT_PICK(bit_bit, Kernels);
  return chosen;
}

void run(const Pool& pool, Call call) {
  Cut cut = whole(call);
  if (cut.pixels == 0 || cut.images == 0) {
    return;
  }
  cut_units(call.weights.columns, cut);
  std::unique_ptr<uint8_t[]> arranged;
  if (call.signs == nullptr) {
    const int64_t area = call.matrix ? 1 : call.size.input[0] * call.size.input[1];
    arranged.reset(new (std::nothrow) uint8_t[static_cast<size_t>(call.size.batch * area * call.x_bytes())]);
    if (arranged == nullptr) {
      throw Error("out of memory", Fault::failed);
    }
    const int64_t parts = call.size.batch * divide_up(area, tile);
    // A share is a few parts: one alone is too little for a thread to be worth waking.
    const int64_t floats = call.matrix ? call.weights.columns : call.geometry.channels * std::min(area, tile);
    const int64_t share = std::max<int64_t>(1, 65536 / floats);
    pool.parallel(static_cast<size_t>(divide_up(parts, share)), [&](size_t i) {
      const int64_t first = static_cast<int64_t>(i) * share, end = std::min(first + share, parts);
      for (int64_t part = first; part < end; ++part) {
        kernels().arrange(call, arranged.get(), static_cast<size_t>(part));
      }
    });
    call.signs = arranged.get();
  }
  pool.run_units(cut.units(), [&](size_t unit) { return kernels().run(call, cut, unit); });
}

void run_pool(const Pool& pool, const PoolCall& call) {
  const ConvGeometry& g = call.geometry;
  const int64_t rows = call.size.batch * call.size.output[0], bytes = call.bytes;
  const int64_t work = call.size.output[1] * bytes * g.kernel[0] * g.kernel[1];
  const int64_t share = std::max<int64_t>(1, 65536 / std::max<int64_t>(work, 1));
  // A bit is 1 where a sign is negative: the largest sign of a window is the bits' AND, the smallest their OR, which is
  // the AND of the inverted bits.
  const auto pool_row = [&](int64_t row) {
    const int64_t image = row / call.size.output[0], top = row % call.size.output[0] * g.strides[0] - g.begin[0];
    const int64_t first = std::max<int64_t>(top, 0), last = std::min(top + g.kernel[0], call.size.input[0]);
    for (int64_t column = 0; column < call.size.output[1]; ++column) {
      const int64_t left = column * g.strides[1] - g.begin[1];
      const int64_t from = std::max<int64_t>(left, 0), to = std::min(left + g.kernel[1], call.size.input[1]);
      uint8_t* y = call.y + (row * call.size.output[1] + column) * bytes;
      std::memset(y, 0xFF, static_cast<size_t>(bytes));
      for (int64_t h = first; h < last; ++h) {
        const uint8_t* x = call.x + ((image * call.size.input[0] + h) * call.size.input[1] + from) * bytes;
        for (int64_t w = from; w < to; ++w, x += bytes) {
          for (int64_t i = 0; i < bytes; ++i) {
            y[i] = static_cast<uint8_t>(y[i] & (x[i] ^ call.falling[i]));
          }
        }
      }
      for (int64_t i = 0; i < bytes; ++i) {
        y[i] ^= call.falling[i];
      }
    }
  };
  pool.parallel(static_cast<size_t>(divide_up(rows, share)), [&](size_t part) {
    const int64_t begin = static_cast<int64_t>(part) * share, end = std::min(begin + share, rows);
    for (int64_t row = begin; row < end; ++row) {
      pool_row(row);
    }
  });
}

}  // namespace sparse_export::bit_bit
