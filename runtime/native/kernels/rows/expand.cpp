#include "expand.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "kernels/bit/weights.h"
#include "rows.h"

namespace sparse_export::rows {
namespace {

Extent extent_of(const Shape& shape) {
  require(!shape.empty(), "attribute 'shape' is empty");
  Extent extent{shape[0], shape.size() > 1 ? shape[1] : 1, 1};
  for (size_t i = 2; i < shape.size(); ++i) {
    extent.taps *= shape[i];
  }
  require(checked_count(shape) > 0, "attribute 'shape': nothing to expand");
  return extent;
}

// Takes the alphas away from behind the components; none are 1.
class Alphas {
 public:
  Alphas(std::vector<Tensor>& components, size_t before, int64_t rows) {
    if (components.size() == before + 1) {
      const Tensor& last = components.back();
      require(last.type == element_float && last.shape.size() == 1 && (last.count == 1 || last.count == rows),
              "input 'scale' must be float32 with one entry or one for each output");
      alphas_ = last.as<float>();
      step_ = last.count == 1 ? 0 : 1;
      components.pop_back();
    }
    require(components.size() == before, "wrong number of inputs");
  }

  float operator()(int64_t row) const { return alphas_ == nullptr ? 1.0F : alphas_[row * step_]; }
  bool none() const { return alphas_ == nullptr; }

 private:
  const float* alphas_ = nullptr;
  int64_t step_ = 0;
};

// The rest of `dense` is zero. Without alphas every bit of a value stays as it is.
void scatter(const f32_csr::Weights& weights, const Alphas& alphas, float* dense) {
  f32_csr::with_types(weights, [&](auto* gaps, auto* values) {
    for (int64_t row = 0; row < weights.rows; ++row) {
      float* const line = dense + row * weights.columns;
      int64_t column = -1;
      for (int64_t entry = weights.begin(row), end = weights.begin(row + 1); entry < end; ++entry) {
        column += 1 + static_cast<int64_t>(gaps[entry]);
        const auto value = static_cast<float>(values[entry]);
        line[column] = alphas.none() ? value : value * alphas(row);
      }
    }
  });
}

void expand_bits(std::vector<Tensor> components, const Extent& extent, float* dense) {
  const Alphas alphas(components, 1, extent.rows);
  const bit::Weights weights = bit::read_weights(components, extent.rows, extent.columns());
  for (int64_t row = 0; row < extent.rows; ++row) {
    const float alpha = alphas(row);
    for (int64_t column = 0; column < extent.columns(); ++column) {
      *dense++ = bit::get(weights.row(row), column) ? -alpha : alpha;
    }
  }
}

Rows read(std::string_view prefix, const std::vector<Tensor>& components, const Extent& extent) {
#define SPARSE_EXPORT_SOURCE(format, name, ...) \
  if (prefix == name) {                         \
    return read_##format(components, extent);   \
  }
#include "sources.def"
#undef SPARSE_EXPORT_SOURCE
  require(prefix == "Sparse", "no such format");
  return {f32_csr::read_weights(components, extent.rows, extent.columns()), {}, {}, {}};
}

size_t count_of(std::string_view prefix) {
#define SPARSE_EXPORT_SOURCE(format, name, ...)                    \
  if (prefix == name) {                                            \
    return std::initializer_list<const char*>{__VA_ARGS__}.size(); \
  }
#include "sources.def"
#undef SPARSE_EXPORT_SOURCE
  return 3;  // csr's
}

}  // namespace

void expand(std::string_view prefix, std::vector<Tensor> components, const Shape& shape, float* dense) {
  const Extent extent = extent_of(shape);
  if (prefix == "BinaryWeight") {
    return expand_bits(std::move(components), extent, dense);
  }
  const Alphas alphas(components, count_of(prefix), extent.rows);
  const Rows rows = read(prefix, components, extent);
  std::fill_n(dense, extent.size(), 0.0F);
  scatter(rows.weights, alphas, dense);
}

}  // namespace sparse_export::rows
