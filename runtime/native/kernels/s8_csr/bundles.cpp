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

  void read(const Groups& groups, int64_t first) {
    for (std::vector<Placed>& cell : cells_) {
      cell.clear();
    }
    const int64_t last = std::min(first + bundle_rows, groups.rows.rows);
    for (int64_t row = first; row < last; ++row) {
      each_weight(groups, row, [&](int64_t quad, int64_t lane, int8_t value) {
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

Bundles make_bundles(const Groups& groups) {
  Bundles bundles;
  bundles.chunks = (groups.rows.columns * group_channels + chunk_channels - 1) / chunk_channels;
  BundleRows rows(bundles.chunks);
  for (int64_t first = 0; first < groups.rows.rows; first += bundle_rows) {
    bundles.first.push_back(bundles.steps.size());
    rows.read(groups, first);
    for (int64_t chunk = 0; chunk < bundles.chunks; ++chunk) {
      rows.write(chunk, bundles);
    }
  }
  bundles.first.push_back(bundles.steps.size());
  bundles.steps.shrink_to_fit();
  return bundles;
}

// visit(row, column of groups, group) for every group that holds a weight, ascending: a row's steps are.
void walk_bundles(const Bundles& bundles, int64_t rows, const VisitGroup& visit) {
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t bundle = row / bundle_rows, place = row % bundle_rows * group_channels;
    const Step* step = bundles.steps.data() + bundles.first[static_cast<size_t>(bundle)];
    Group group{};
    int64_t column = -1;
    const auto flush = [&](int64_t next) {
      if (column >= 0 && column != next) {
        visit(row, column, group);
        group = {};
      }
      column = next;
    };
    for (int64_t chunk = 0; chunk < bundles.chunks; ++chunk) {
      for (int left = bundles.counts[static_cast<size_t>(bundle * bundles.chunks + chunk)]; left > 0; --left, ++step) {
        for (int64_t i = place; i < place + group_channels; ++i) {
          if (step->weight[i] != 0) {
            const int64_t channel = chunk * chunk_channels + step->index[i];
            flush(channel / group_channels);
            group[static_cast<size_t>(channel % group_channels)] = step->weight[i];
          }
        }
      }
    }
    flush(-1);
  }
}

template <class Make>
void within_memory(Make&& make) {
  try {
    make();
  } catch (const std::bad_alloc&) {
    throw Error("out of memory", Fault::failed);
  }
}

}  // namespace

const Bundles& LazyBundles::get(const Weights& weights) {
  Groups& groups = *weights.groups;
  within_memory([&] {
    any_.run([&] {
      bundles_ = make_bundles(groups);
      Groups none;
      none.rows.rows = groups.rows.rows;
      none.rows.columns = groups.rows.columns;
      groups = std::move(none);
    });
    bundles_made_.run([&] {
      if (bundles_.first.empty()) {
        bundles_ = make_bundles(groups);
      }
    });
  });
  return bundles_;
}

void LazyBundles::need_groups(const Weights& weights) {
  Groups& groups = *weights.groups;
  within_memory([&] {
    any_.run([] {});
    groups_made_.run([&] {
      if (groups.indptr.empty()) {
        const int64_t rows = groups.rows.rows, columns = groups.rows.columns;
        groups = make_groups(rows, columns, [&](const VisitGroup& visit) { walk_bundles(bundles_, rows, visit); });
      }
    });
  });
}

void DeleteBundles::operator()(LazyBundles* bundles) const { delete bundles; }

}  // namespace sparse_export::s8_csr
