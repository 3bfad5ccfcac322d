#include "packed.h"

#include <string_view>

namespace sparse_export::rows {
namespace {

// Densities from which a form pays, and the rows of X up to which it does. An inner loop of `masked` spreads 16 columns
// and multiplies them by every row of X; csr multiplies single entries by 16 rows of X at a time. `codes` looks up
// every column, whatever its weights are.
constexpr double masked_density = 0.18, codes_density = 0.04, codebook_density = 0.1;
constexpr double even_density = 0.4;      // from here on csr is no faster for many rows or pixels, or no smaller
constexpr double even_codes = 0.2;        // the same for codes, in matrix products
constexpr int64_t fewest_rows = 8;        // of a convolution group: codes are of 16 rows side by side
constexpr int64_t most_codes_pixels = 4;  // below that

bool is_signs(std::string_view format) { return format == "ternary" || format == "signmask" || format == "signgaps"; }

}  // namespace

Packed::Packed(const char* format, Read read, const std::vector<Tensor>& components, const ConvGeometry& geometry,
               bool matrix)
    : read_(read), components_(components), extent_(extent_of(geometry)) {
  const std::string_view name = format;
  const bool wide = geometry.outputs_per_group() >= fewest_rows;
  const auto size = static_cast<double>(extent_.size());
  if (matrix && (name == "bitmask" || name == "nm")) {
    masked_ = name == "nm" ? f32_masked::read_nm(components, extent_.rows, extent_.columns())
                           : f32_masked::read_bitmask(components, extent_.rows, extent_.columns());
    density_ = static_cast<double>(masked_->entries) / size;
    both_ = density_ < even_density;
    if (density_ < masked_density) {
      masked_.reset();
    }
  } else if (name == "codebook" && wide && components[1].count <= 16) {
    take_codes(f32_codes::read_codebook(components, extent_.rows, extent_.columns(), geometry.groups), matrix);
  } else if (is_signs(name) && wide) {
    Rows rows = read(components, extent_);
    if (static_cast<double>(rows.weights.entries) >= codes_density * size) {
      take_codes(f32_codes::read_signs(rows.weights, geometry.groups), matrix);
    }
    if (!codes_) {
      csr_ = std::move(rows);
    }
  }
  if (!masked_ && !codes_) {
    csr();
  }
}

void Packed::take_codes(f32_codes::Weights weights, bool matrix) {
  density_ = static_cast<double>(weights.entries) / static_cast<double>(extent_.size());
  both_ = density_ < (matrix && weights.span > 1 ? even_codes : even_density);
  const double least = !matrix ? even_density : weights.span == 1 ? codebook_density : codes_density;
  if (density_ >= least) {
    codes_ = std::move(weights);
  }
}

const Rows& Packed::csr() const {
  once_.run([&] {
    if (!csr_) {
      csr_ = read_(components_, extent_);
    }
  });
  return *csr_;
}

Form Packed::form_for(int64_t pixels) const {
  if (masked_) {
    const bool few = static_cast<double>(pixels + 2) <= 32 * density_;
    return few || !both_ ? Form::masked : Form::csr;
  }
  if (codes_) {
    return pixels <= most_codes_pixels || !both_ ? Form::codes : Form::csr;
  }
  return Form::csr;
}

void Packed::run(const Pool& pool, size_t threads, const LayerCall& call) const {
  switch (form_for(call.size.batch * call.size.output[0] * call.size.output[1])) {
    case Form::masked:
      return f32_masked::run(pool, threads, {call, *masked_});
    case Form::codes:
      return f32_codes::run(pool, {call, *codes_});
    default:
      return f32_csr::run(pool, threads, {call, csr().weights});
  }
}

void Packed::prepare() {
  f32_csr::kernels();
  f32_codes::kernels();
  f32_masked::kernels();
}

}  // namespace sparse_export::rows
