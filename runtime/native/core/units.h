// Cutting a call into independent units: image, group, part of the output pixels, part of the output channels.
#pragma once

#include <algorithm>

#include "call.h"

namespace sparse_export {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Cut {
  int64_t images = 1, groups = 1, pixels = 0, rows = 0;  // pixels of one image, rows of one group
  int64_t part_pixels = 0, pixel_parts = 0, part_rows = 0, row_parts = 0;

  SPARSE_EXPORT_INLINE size_t units() const { return static_cast<size_t>(images * groups * pixel_parts * row_parts); }
};

// One unit: pixels [pixel, pixel + pixels) of one image and rows [row, row + rows) of one group.
struct Part {
  int64_t image, group, pixel, pixels, row, rows;
};

SPARSE_EXPORT_INLINE Part part_of(const Cut& cut, size_t unit) {
  int64_t rest = static_cast<int64_t>(unit);
  const int64_t row = rest % cut.row_parts * cut.part_rows;
  rest /= cut.row_parts;
  const int64_t pixel = rest % cut.pixel_parts * cut.part_pixels;
  rest /= cut.pixel_parts;
  const int64_t rows = cut.rows - row < cut.part_rows ? cut.rows - row : cut.part_rows;
  const int64_t pixels = cut.pixels - pixel < cut.part_pixels ? cut.pixels - pixel : cut.part_pixels;
  return {rest / cut.groups, rest % cut.groups, pixel, pixels, row, rows};
}

// Images, groups, pixels and rows of the call; one part of everything.
inline Cut whole(const LayerCall& call) {
  Cut cut;
  cut.images = call.matrix ? 1 : call.size.batch;
  cut.groups = call.matrix ? 1 : call.geometry.groups;
  cut.pixels = call.matrix ? call.size.batch : call.size.output[0] * call.size.output[1];
  cut.rows = call.geometry.outputs / cut.groups;
  cut.part_pixels = cut.pixels;
  cut.part_rows = cut.rows;
  cut.pixel_parts = cut.row_parts = 1;
  return cut;
}

// What a kernel wants of its parts.
struct CutRule {
  double work;  // products of a unit that pay for a thread
  int64_t pixels, grain;
  int64_t fewest_rows, most_rows;
};

// Parts of at most `pixels` pixels and `most_rows` rows; more of them while units stay above `work` products and
// there are less than 16. Cutting pixels costs little (a multiple of `grain`); cutting rows repeats the work on
// the input, so a part keeps `fewest_rows`.
inline void cut_by(const CutRule& rule, int64_t columns, Cut& cut) {
  const double total = static_cast<double>(cut.images * cut.groups * cut.pixels) * static_cast<double>(cut.rows) *
                       static_cast<double>(columns);
  const auto wanted = static_cast<int64_t>(std::clamp(total / rule.work, 1.0, 16.0));
  const int64_t outer = cut.images * cut.groups;
  const int64_t parts = std::max(divide_up(cut.pixels, rule.pixels),
                                 std::min(divide_up(wanted, outer), divide_up(cut.pixels, rule.grain)));
  cut.part_pixels = divide_up(divide_up(cut.pixels, parts), rule.grain) * rule.grain;
  cut.pixel_parts = divide_up(cut.pixels, cut.part_pixels);
  const int64_t cuts = std::max(divide_up(cut.rows, rule.most_rows),
                                std::min(divide_up(wanted, outer * cut.pixel_parts), cut.rows / rule.fewest_rows));
  cut.part_rows = divide_up(divide_up(cut.rows, std::max<int64_t>(cuts, 1)), 64) * 64;
  cut.row_parts = divide_up(cut.rows, cut.part_rows);
}

}  // namespace sparse_export
