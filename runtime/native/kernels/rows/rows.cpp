#include "rows.h"

#include <new>

namespace sparse_export::rows {

Extent extent_of(const ConvGeometry& geometry) {
  return {geometry.outputs, geometry.channels_per_group(), geometry.kernel[0] * geometry.kernel[1]};
}

int64_t value_bytes(const Tensor& tensor, const char* rule) {
  switch (tensor.type) {
    case element_float:
      return 4;
    case element_float16:
    case element_bfloat16:
      return 2;
    case element_int8:
      return 1;
    default:
      throw Error(rule);
  }
}

Builder::Builder(const Extent& extent, int value_type) : extent_(extent), type_(value_type) {}

Rows& Builder::allocate() {
  const int64_t bytes = type_ == element_float ? 4 : type_ == element_int8 ? 1 : 2;
  wide_ = entries_[1] * (bytes + 2) < entries_[0] * (bytes + 1);
  const int64_t entries = entries_[wide_ ? 1 : 0];
  require(entries < int64_t{UINT32_MAX}, "the weight has too many entries");
  rows_.indptr = zeros<uint32_t>(static_cast<size_t>(extent_.rows) + 1);
  rows_.gaps.reset(new (std::nothrow) uint8_t[static_cast<size_t>(entries * (wide_ ? 2 : 1))]);
  rows_.values.reset(new (std::nothrow) uint8_t[static_cast<size_t>(entries * bytes)]);
  if (rows_.gaps == nullptr || rows_.values == nullptr) {
    throw Error("out of memory", Fault::failed);
  }
  row_ = 0;
  column_ = -1;
  return rows_;
}

Rows Builder::finish() {
  step(extent_.rows, 0);
  return finish(filled_);
}

Rows Builder::finish(int64_t entries) {
  rows_.weights = {extent_.rows,
                   extent_.columns(),
                   entries,
                   {element_uint32, {extent_.rows + 1}, rows_.indptr.get(), extent_.rows + 1},
                   {wide_ ? element_uint16 : element_uint8, {entries}, rows_.gaps.get(), entries},
                   {type_, {entries}, rows_.values.get(), entries}};
  f32_csr::check_weights(rows_.weights);
  return std::move(rows_);
}

}  // namespace sparse_export::rows
