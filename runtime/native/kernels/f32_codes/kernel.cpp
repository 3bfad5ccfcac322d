// Weights of few values times float activations: by tables of sums, in registers where one holds them, or by tiles.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 finds them in its own intrinsics (bug 105593)
#endif
#include "store.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include "tables.h"
#include "tile.h"
#elif defined(SPARSE_EXPORT_NEON)
#include "tile.h"
#else
#include "sums.h"
#endif

namespace sparse_export::f32_codes {
namespace {

#if defined(__AVX512F__) || defined(__AVX2__)

// A code of one column looks up once for every product: from so many pixels on, decoding it for all of them is less.
constexpr int64_t tile_pixels = lanes == 16 ? 24 : 8;

bool run_unit(const Call& call, const Cut& cut, size_t unit) noexcept {
  const Part part = part_of(cut, unit);
  if (call.weights.span == 1 && part.pixels >= tile_pixels) {
    return run_tiles(call, cut, part);
  }
  const int64_t registers = ceil_div(part.rows, lanes);
  Room room;
  if (!reserve(call, part, registers, room)) {
    return false;
  }
  sum_up(call, part, registers, room);
  if (call.matrix) {
    store_matrix(call, part, registers * lanes, room.sum);
  } else {
    store_image(call, cut, part, registers * lanes, room.sum);
  }
  return true;
}

constexpr CutRule rule = {.work = 4e6, .pixels = 128, .grain = 4, .fewest_rows = 256, .most_rows = 1024};

#elif defined(SPARSE_EXPORT_NEON)

bool run_unit(const Call& call, const Cut& cut, size_t unit) noexcept {
  const Part part = part_of(cut, unit);
  if (call.matrix && part.pixels < lanes) {
    few_pixels(call, part);
    return true;
  }
  return run_tiles(call, cut, part);
}

// A block of weights is decoded once for all pixels of a part: parts of few pixels would decode more than they
// multiply, so it is rows that are cut for threads.
constexpr CutRule rule = {.work = 4e6, .pixels = 64, .grain = 64, .fewest_rows = 128, .most_rows = 1024};

#else

bool run_unit(const Call& call, const Cut& cut, size_t unit) noexcept {
  const Part part = part_of(cut, unit);
  return part.pixels == 1 ? run_sums<float>(call, cut, part) : run_sums<Vec>(call, cut, part);
}

constexpr CutRule rule = {.work = 4e6, .pixels = 64, .grain = 4, .fewest_rows = 256, .most_rows = 1024};

#endif

}  // namespace

extern const Kernels SPARSE_EXPORT_TARGET_NAME = {rule, run_unit};

}  // namespace sparse_export::f32_codes
