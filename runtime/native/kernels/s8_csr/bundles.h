// Weights for one pixel, or few: sixteen rows side by side, over 128 channels at a time.
//
// Two vectors hold 128 activations, and one instruction looks 64 of them up: four for each of sixteen rows. What it
// finds times the weights beside the indices is one dot-product instruction. A step is one of these: about 0.3 bytes a
// weight at 90 % zeros. A chunk of 128 channels takes as many steps as its fullest row.
#pragma once

#include <vector>

#include "core/memory.h"
#include "weights.h"

namespace sparse_export::s8_csr {

constexpr int64_t bundle_rows = 16;
constexpr int64_t chunk_channels = 128;

struct alignas(64) Step {
  uint8_t index[bundle_rows * group_channels];  // below 128; four of each row
  int8_t weight[bundle_rows * group_channels];  // 0 where a row has no more
};

struct Bundles {
  int64_t chunks = 0;
  std::vector<Step, AlignedAllocator<Step>> steps;
  std::vector<uint8_t> counts;  // [bundles][chunks] steps
  std::vector<size_t> first;    // [bundles + 1] first step of each
};

// Made when first asked for: many layers never see so few pixels. Where the first call of all asks for them the groups
// are let go: the bundles say the same, and many layers never see anything else.
class LazyBundles {
 public:
  // Of a layer of 1 x 1 windows in one group. Both throw where memory runs out.
  const Bundles& get(const Weights& weights);
  void need_groups(const Weights& weights);

 private:
  Once any_, bundles_made_, groups_made_;
  Bundles bundles_;
};

}  // namespace sparse_export::s8_csr
