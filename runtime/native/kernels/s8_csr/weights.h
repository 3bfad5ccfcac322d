// CSR weights with int8 values, and what the kernels read of them: rows of non-empty groups of four input channels.
//
// A group is one position of the window in four neighbouring channels: what one dot-product instruction takes. It is
// kept as a gap to the group before, four bits that say which of its weights are not zero, and those weights: about
// what the file takes, with gaps of four bits where most of them fit. Groups are built once, when the session is created.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "core/geometry.h"
#include "kernels/f32_csr/weights.h"

namespace sparse_export::s8_csr {

constexpr int64_t group_channels = 4;

class LazyBundles;
struct DeleteBundles {
  void operator()(LazyBundles* bundles) const;
};

struct Groups {
  // Rows of groups: column = group of channels * positions of the window + position. Without values.
  f32_csr::Weights rows;
  std::vector<uint32_t> indptr;
  std::vector<uint8_t> gaps;
  bool halves = false;          // gaps are of four bits, two in a byte; `rows` then says uint8
  std::vector<uint8_t> masks;   // of group i: bits [4 i, 4 i + 4)
  std::vector<int8_t> values;   // of all groups, one after the other
  std::vector<uint32_t> first;  // [rows + 1] first value of each row
};

struct Weights {
  f32_csr::Weights csr;            // int8 values: what the file, or a row source, says
  std::unique_ptr<Groups> groups;  // empty while bundles alone are in use
  std::vector<int32_t> sums;       // [rows] of the weights of each row; wraps around
  std::unique_ptr<LazyBundles, DeleteBundles> bundles;  // of 1 x 1 windows in one group
};

// Vectors are read behind the last gap, mask and value.
constexpr size_t slack = 64;

using Group = std::array<int8_t, group_channels>;

// Groups that `walk(visit)` visits with visit(row, column of groups, group), ascending; twice, and both times the same.
using VisitGroup = std::function<void(int64_t row, int64_t column, const Group& group)>;
Groups make_groups(int64_t rows, int64_t columns, const std::function<void(const VisitGroup& visit)>& walk);

// Takes checked rows; throws unless their values are int8, and where memory runs out.
Weights read_weights(const f32_csr::Weights& csr, const ConvGeometry& geometry);

}  // namespace sparse_export::s8_csr
