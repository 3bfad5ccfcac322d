// Cutting a 1-bit call into units: shared by the binary and the xnor kernels, compiled once.
#pragma once

#include <algorithm>
#include <atomic>

#include "binary.h"

namespace sparse_export {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Images, groups, pixels and rows of the call; one part of everything.
inline BitPlan whole_plan(const BitCall& call) {
  BitPlan plan;
  plan.images = call.matrix ? 1 : call.size.batch;
  plan.groups = call.matrix ? 1 : call.geometry.groups;
  plan.pixels = call.matrix ? call.size.batch : call.size.output[0] * call.size.output[1];
  plan.rows = call.weights.rows / plan.groups;
  plan.part_pixels = plan.pixels;
  plan.part_rows = plan.rows;
  plan.pixel_parts = plan.row_parts = 1;
  return plan;
}

// Parts of at most `pixels` pixels and `most_rows` rows; more of them while units stay above `work` products and
// there are less than 16. Cutting pixels costs little (a multiple of `grain`); cutting rows repeats the work on
// the input, so a part keeps `fewest_rows`.
inline void cut(BitPlan& plan, int64_t columns, double work, int64_t pixels, int64_t grain, int64_t fewest_rows,
                int64_t most_rows) {
  const double total = static_cast<double>(plan.images * plan.groups * plan.pixels) *
                       static_cast<double>(plan.rows) * static_cast<double>(columns);
  const auto wanted = static_cast<int64_t>(std::clamp(total / work, 1.0, 16.0));
  const int64_t outer = plan.images * plan.groups;
  const int64_t parts = std::max(divide_up(plan.pixels, pixels),
                                 std::min(divide_up(wanted, outer), divide_up(plan.pixels, grain)));
  plan.part_pixels = divide_up(divide_up(plan.pixels, parts), grain) * grain;
  plan.pixel_parts = divide_up(plan.pixels, plan.part_pixels);
  const int64_t cuts = std::max(divide_up(plan.rows, most_rows),
                                std::min(divide_up(wanted, outer * plan.pixel_parts), plan.rows / fewest_rows));
  plan.part_rows = divide_up(divide_up(plan.rows, std::max<int64_t>(cuts, 1)), 64) * 64;
  plan.row_parts = divide_up(plan.rows, plan.part_rows);
}

// Runs `unit(i)` for every unit on the session's threads; throws where one reports that memory ran out.
template <class Unit>
void run_units(const Context& context, size_t units, Unit&& unit) {
  std::atomic<bool> done{true};
  context.parallel(units, [&](size_t i) {
    if (!unit(i)) {
      done.store(false, std::memory_order_relaxed);
    }
  });
  if (!done.load(std::memory_order_relaxed)) {
    throw Error("out of memory", abi::code_fail);
  }
}

}  // namespace sparse_export
