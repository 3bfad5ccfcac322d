#include "bundles.h"

#include <algorithm>
#include <array>
#include <new>

#include "core/error.h"
#include "entries.h"

namespace sparse_export::s8_csr {
namespace {

struct Placed {
  uint8_t index;
  int8_t weight;
};

// The weights of sixteen rows, by chunk of channels.
class BundleRows {
 public:
  explicit BundleRows(int64_t chunks) : cells_(static_cast<size_t>(chunks * bundle_rows)) {}

  void read(const Weights& weights, int64_t first) {
    for (std::vector<Placed>& cell : cells_) {
      cell.clear();
    }
    const int64_t last = std::min(first + bundle_rows, weights.groups.rows);
    for (int64_t row = first; row < last; ++row) {
      each_weight(weights, row, [&](int64_t quad, int64_t lane, int8_t value) {
        const int64_t channel = quad * group_channels + lane;
        cell(channel / chunk_channels, row - first)
            .push_back({static_cast<uint8_t>(channel % chunk_channels), value});
      });
    }
  }

  void write(int64_t chunk, Bundles& bundles) {
    size_t most = 0;
    for (int64_t row = 0; row < bundle_rows; ++row) {
      most = std::max(most, cell(chunk, row).size());
    }
    constexpr auto four = static_cast<size_t>(group_channels);
    const size_t steps = (most + four - 1) / four, begin = bundles.steps.size();
    bundles.counts.push_back(static_cast<uint8_t>(steps));
    bundles.steps.resize(begin + steps);
    for (int64_t row = 0; row < bundle_rows; ++row) {
      const std::vector<Placed>& from = cell(chunk, row);
      for (size_t i = 0; i < from.size(); ++i) {
        Step& step = bundles.steps[begin + i / four];
        const size_t at = static_cast<size_t>(row) * four + i % four;
        step.index[at] = from[i].index;
        step.weight[at] = from[i].weight;
      }
    }
  }

 private:
  std::vector<Placed>& cell(int64_t chunk, int64_t row) {
    return cells_[static_cast<size_t>(chunk * bundle_rows + row)];
  }

  std::vector<std::vector<Placed>> cells_;
};

Bundles make_bundles(const Weights& weights) {
  Bundles bundles;
  bundles.chunks = (weights.groups.columns * group_channels + chunk_channels - 1) / chunk_channels;
  BundleRows rows(bundles.chunks);
  for (int64_t first = 0; first < weights.groups.rows; first += bundle_rows) {
    bundles.first.push_back(bundles.steps.size());
    rows.read(weights, first);
    for (int64_t chunk = 0; chunk < bundles.chunks; ++chunk) {
      rows.write(chunk, bundles);
    }
  }
  bundles.first.push_back(bundles.steps.size());
  bundles.steps.shrink_to_fit();
  return bundles;
}

}  // namespace

const Bundles& LazyBundles::get(const Weights& weights) {
  try {
    once_.run([&] { bundles_ = make_bundles(weights); });
  } catch (const std::bad_alloc&) {
    throw Error("out of memory", Fault::failed);
  }
  return bundles_;
}

void DeleteBundles::operator()(LazyBundles* bundles) const { delete bundles; }

}  // namespace sparse_export::s8_csr
