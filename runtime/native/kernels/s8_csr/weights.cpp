#include "weights.h"

#include "bundles.h"

#include <algorithm>
#include <array>

namespace sparse_export::s8_csr {
namespace {

struct Entry {
  int64_t position;
  int lane;
  int8_t value;
};

// visit(row, column of groups, group) for every group that holds a weight, ascending within each row.
template <class Visit>
void walk_groups(const f32_csr::Weights& csr, int64_t window, Visit&& visit) {
  std::vector<Entry> entries;  // of four channels
  const auto flush = [&](int64_t row, int64_t channels) {
    if (window > 1) {
      std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.position < b.position; });
    }
    for (size_t i = 0; i < entries.size();) {
      Group group{};
      const int64_t position = entries[i].position;
      for (; i < entries.size() && entries[i].position == position; ++i) {
        group[static_cast<size_t>(entries[i].lane)] = entries[i].value;
      }
      visit(row, channels * window + position, group);
    }
    entries.clear();
  };
  f32_csr::with_types(csr, [&](const auto* gaps, const auto* values) {
    for (int64_t row = 0; row < csr.rows; ++row) {
      int64_t column = -1, channels = 0;
      for (int64_t entry = csr.begin(row); entry < csr.begin(row + 1); ++entry) {
        column += int64_t{1} + gaps[entry];
        const int64_t channel = column / window;
        if (channel / group_channels != channels) {
          flush(row, channels);
          channels = channel / group_channels;
        }
        const auto value = static_cast<int8_t>(values[entry]);
        if (value != 0) {  // not a filler
          entries.push_back({column % window, static_cast<int>(channel % group_channels), value});
        }
      }
      flush(row, channels);
    }
  });
}

// Widths of gaps, in half bytes, as the masks are.
constexpr std::array<int64_t, 4> widths = {1, 2, 4, 8};

constexpr int64_t most_of(int64_t width) { return (int64_t{1} << (4 * width)) - 1; }

// Sizes of the stream for gaps of each width: a gap that does not fit becomes groups without weights.
struct Sizes {
  std::array<int64_t, widths.size()> groups{};
  int64_t values = 0;

  // Half bytes only where next to no groups come in: one without weights takes as long to multiply.
  size_t narrowest() const {
    size_t best = groups[0] - groups[1] <= groups[1] / 100 ? 0 : 1;
    for (size_t i = 2; i < widths.size(); ++i) {
      best = groups[i] * (widths[i] + 1) < groups[best] * (widths[best] + 1) ? i : best;
    }
    return best;
  }
};

Sizes sizes_of(const std::function<void(const VisitGroup& visit)>& walk) {
  Sizes sizes;
  int64_t row_before = -1, before = -1;
  walk([&](int64_t row, int64_t column, const Group& group) {
    before = row == row_before ? before : -1;
    const int64_t gap = column - before - 1;
    row_before = row;
    before = column;
    for (size_t i = 0; i < widths.size(); ++i) {
      sizes.groups[i] += 1 + (gap >> (4 * widths[i]));
    }
    sizes.values += group_channels - std::count(group.begin(), group.end(), 0);
  });
  return sizes;
}

class Builder {
 public:
  Builder(Groups& out, int64_t rows, const Sizes& sizes) : out_(out), rows_(rows), width_(widths[sizes.narrowest()]) {
    const int64_t groups = sizes.groups[sizes.narrowest()];
    require(groups < int64_t{UINT32_MAX}, "the weight has too many entries");
    out.indptr.reserve(static_cast<size_t>(rows) + 1);
    out.first.reserve(static_cast<size_t>(rows) + 1);
    out.gaps.assign(static_cast<size_t>((groups * width_ + 1) / 2) + slack, 0);
    out.masks.assign(static_cast<size_t>(groups / 2 + 1) + slack, 0);
    out.values.reserve(static_cast<size_t>(sizes.values) + slack);
    start_rows(0);
  }

  void add(int64_t row, int64_t column, const Group& group) {
    start_rows(row);
    int64_t gap = column - before_ - 1;
    const int64_t most = most_of(width_);
    for (; gap > most; gap -= most + 1) {
      put(most, {});
    }
    put(gap, group);
    before_ = column;
  }

  void finish(int64_t columns) {
    start_rows(rows_);
    out_.values.insert(out_.values.end(), slack, 0);
    const int type = width_ <= 2 ? element_uint8 : width_ == 4 ? element_uint16 : element_uint32;
    out_.halves = width_ == 1;
    out_.rows = {rows_,
                 columns,
                 count_,
                 {element_uint32, {rows_ + 1}, out_.indptr.data(), rows_ + 1},
                 {type, {count_}, out_.gaps.data(), count_},
                 {}};
  }

 private:
  void start_rows(int64_t row) {
    while (static_cast<int64_t>(out_.indptr.size()) <= row) {
      out_.indptr.push_back(static_cast<uint32_t>(count_));
      out_.first.push_back(static_cast<uint32_t>(out_.values.size()));
      before_ = -1;
    }
  }

  void put(int64_t gap, const Group& group) {
    uint8_t* place = out_.gaps.data() + count_ * width_ / 2;
    if (width_ == 1) {
      *place |= static_cast<uint8_t>(gap << (count_ % 2 * 4));
    }
    for (int64_t byte = 0; byte < width_ / 2; ++byte) {
      place[byte] = static_cast<uint8_t>(gap >> (8 * byte));
    }
    for (size_t lane = 0; lane < group.size(); ++lane) {
      if (group[lane] != 0) {
        out_.masks[static_cast<size_t>(count_ / 2)] |= static_cast<uint8_t>(1 << (count_ % 2 * 4 + static_cast<int64_t>(lane)));
        out_.values.push_back(group[lane]);
      }
    }
    ++count_;
  }

  Groups& out_;
  int64_t rows_, width_;  // of gaps, in half bytes
  int64_t count_ = 0, before_ = -1;
};

std::vector<int32_t> sums_of(const f32_csr::Weights& csr) {
  std::vector<int32_t> sums;
  sums.reserve(static_cast<size_t>(csr.rows));
  for (int64_t row = 0; row < csr.rows; ++row) {
    const int8_t* values = csr.values.as<int8_t>();
    uint32_t sum = 0;
    for (int64_t entry = csr.begin(row); entry < csr.begin(row + 1); ++entry) {
      sum += static_cast<uint32_t>(int32_t{values[entry]});
    }
    sums.push_back(static_cast<int32_t>(sum));
  }
  return sums;
}

}  // namespace

Groups make_groups(int64_t rows, int64_t columns, const std::function<void(const VisitGroup& visit)>& walk) {
  Groups groups;
  Builder builder(groups, rows, sizes_of(walk));
  walk([&](int64_t row, int64_t column, const Group& group) { builder.add(row, column, group); });
  builder.finish(columns);
  return groups;
}

Weights read_weights(const f32_csr::Weights& csr, const ConvGeometry& geometry) {
  require(csr.values.type == element_int8, "the weights of a quantized layer must be int8");
  const int64_t window = geometry.kernel[0] * geometry.kernel[1];
  const int64_t channels = (geometry.channels_per_group() + group_channels - 1) / group_channels;
  Weights weights;
  weights.csr = csr;
  weights.groups.reset(new Groups(make_groups(
      csr.rows, channels * window, [&](const VisitGroup& visit) { walk_groups(csr, window, visit); })));
  weights.sums = sums_of(csr);
  if (window == 1 && geometry.groups == 1) {
    weights.bundles.reset(new LazyBundles);
  }
  return weights;
}

}  // namespace sparse_export::s8_csr
