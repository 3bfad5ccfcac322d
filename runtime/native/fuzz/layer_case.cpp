// Random layers and inputs: each kind of shape leads the kernels onto another way through their code.
#include <algorithm>
#include <cmath>
#include <limits>

#include "layer.h"

namespace fuzz {
namespace {

constexpr double most_work = 1e6;  // multiply-adds of one call, or outputs

Kind random_kind(Random& random, const Layer& layer) {
  const bool sparse = layer.family == Family::f32_csr || layer.family == Family::s8_csr;
  if (!layer.conv) {
    return pick(random, {Kind::any, Kind::any, Kind::vector, Kind::many_rows, Kind::many_columns});
  }
  if (chance(random, 3)) {
    return sparse && chance(random, 70) ? Kind::huge_window : Kind::far_taps;
  }
  return pick(random, {Kind::any, Kind::any, Kind::pointwise, Kind::pointwise, Kind::window, Kind::window, Kind::window,
                       Kind::tiny_map, Kind::vector, Kind::many_rows, Kind::many_columns, Kind::depthwise});
}

void set_window(Random& random, Layer& layer, size_t axis, std::initializer_list<int64_t> kernels) {
  layer.kernel[axis] = pick(random, kernels);
  layer.strides[axis] = pick<int64_t>(random, {1, 1, 1, 2, 3});
  layer.dilations[axis] = pick<int64_t>(random, {1, 1, 1, 2, 3});
  layer.begin[axis] = uniform(random, 0, 3);
  layer.end[axis] = uniform(random, 0, 3);
}

void set_shape(Random& random, Layer& layer, Kind kind) {
  layer.groups = pick<int64_t>(random, {1, 1, 1, 2, 3});
  layer.rank = pick<int64_t>(random, {1, 2, 2, 2});
  int64_t rows = uniform(random, 1, 24);
  layer.channels = chance(random, 90) ? uniform(random, 1, 40) : uniform(random, 100, 300);
  if (kind == Kind::many_rows) {
    rows = pick<int64_t>(random, {300, 1100, 3000});
    // Sometimes so many weights that their rows are decoded in several slices, with sums between blocks.
    const bool several = layer.family == Family::s8_csr && chance(random, 20);
    rows = several ? 300 : rows;
    layer.channels = several ? uniform(random, 60, 160) : uniform(random, 1, 12);
  } else if (kind == Kind::many_columns) {
    layer.channels = uniform(random, 300, 3000);
  } else if (kind == Kind::depthwise) {
    layer.groups = uniform(random, 2, 40);
    layer.channels = 1;
    rows = uniform(random, 1, 3);
  } else if (kind == Kind::vector) {
    layer.channels = uniform(random, 1, 3000);
  } else if (kind == Kind::huge_window) {
    layer.channels = 40;
    layer.groups = 1;
    layer.rank = 1;
    rows = 3;
  } else if (kind == Kind::far_taps) {
    layer.channels = uniform(random, 1, 3);
    layer.groups = 1;
  }
  if (!layer.conv) {
    layer.groups = 1;
    rows *= uniform(random, 1, 8);
    layer.channels = chance(random, 50) ? layer.channels : uniform(random, 1, 2500);
    if (layer.family == Family::bit_bit && chance(random, 5)) {  // more ones than 16-bit counts hold
      layer.channels = uniform(random, 260'000, 530'000);
      rows = 1;
    }
  }
  layer.rows = rows * layer.groups;
}

void set_windows(Random& random, Layer& layer, Kind kind) {
  const bool one_by_one = kind == Kind::pointwise || (kind == Kind::vector && chance(random, 80));
  for (size_t axis = layer.rank == 1 ? 1 : 0; layer.conv && axis < 2; ++axis) {
    if (kind == Kind::huge_window) {  // offsets of its weight columns need more than 32 bits
      layer.kernel[axis] = (1 << 21) - uniform(random, 0, 40);
      layer.begin[axis] = layer.end[axis] = 1 << 20;
    } else if (kind == Kind::far_taps) {  // the kernels' copies of padded rows would be too large
      layer.kernel[axis] = 2;
      layer.dilations[axis] = layer.begin[axis] = 1 << 20;
    } else if (kind == Kind::many_columns) {
      set_window(random, layer, axis, {1, 1, 2, 3});
    } else if (kind == Kind::window) {
      set_window(random, layer, axis, {2, 3, 3, 3, 5, 7});
    } else if (kind == Kind::tiny_map) {
      set_window(random, layer, axis, {1, 3, 3, 4});
    } else if (!one_by_one || chance(random, 10)) {
      set_window(random, layer, axis, {1, 1, 2, 3, 3, 5, 7});
    }
  }
  if (chance(random, 30) && kind != Kind::huge_window && kind != Kind::far_taps) {
    layer.strides = layer.dilations = {1, 1};
    layer.begin = layer.end = {0, 0};
  }
}

// ---- Epilogues ------------------------------------------------------------------------------------------------------

void set_epilogue(Random& random, Layer& layer) {
  using sparse_export::variants;
  const auto& variant = variants[random() % variants.size()];
  layer.residual = variant.residual && layer.conv && !layer.packed_y;
  if (!layer.packed_y) {
    layer.activation = variant.activation;
    if (variant.low_attribute != nullptr) {
      layer.activation.low = static_cast<float>(uniform(random, -4, 1));
      layer.activation.high = layer.activation.low + static_cast<float>(uniform(random, 0, 6));
    }
  }
  std::normal_distribution<float> normal;
  for (int64_t row = 0; row < layer.rows; ++row) {
    layer.scale.push_back((chance(random, 50) ? 1.0F : -1.0F) * (0.25F + std::abs(normal(random))));
    layer.bias.push_back(chance(random, 10) ? 0.0F : normal(random));
  }
}

std::string random_format(Random& random) {
#define SPARSE_EXPORT_SOURCE(format, prefix, ...) #format,
  const std::vector<const char*> formats = {
#include "kernels/rows/sources.def"
  };
#undef SPARSE_EXPORT_SOURCE
  return formats[random() % formats.size()];
}

// ---- Inputs ---------------------------------------------------------------------------------------------------------

int64_t window_of(const Layer& layer, size_t axis) { return layer.dilations[axis] * (layer.kernel[axis] - 1) + 1; }

int64_t random_extent(Random& random, const Layer& layer, size_t axis) {
  const int64_t least = window_of(layer, axis) - layer.begin[axis] - layer.end[axis];
  int64_t extent =
      chance(random, 60) ? pick<int64_t>(random, {1, 2, 4, 7, 8, 14, 16, 17, 28, 32, 40, 56}) : uniform(random, 1, 48);
  if (layer.kind == Kind::vector || layer.kind == Kind::huge_window || chance(random, 10)) {
    extent = layer.kind == Kind::huge_window ? uniform(random, 1, 130) : 1;
  } else if (layer.kind == Kind::tiny_map) {
    extent = uniform(random, 1, 4);
  } else if (layer.kind == Kind::pointwise && chance(random, 60)) {
    extent = pick<int64_t>(random, {4, 8, 12, 16, 20, 28, 48});   // areas of whole vectors
  } else if (layer.kind == Kind::window && chance(random, 80)) {  // output rows that nearly fill vectors
    const int64_t output =
        axis == 0 ? uniform(random, 4, 20) : pick<int64_t>(random, {12, 14, 15, 16, 24, 28, 31, 32, 48});
    extent = (output - 1) * layer.strides[axis] + least + uniform(random, 0, layer.strides[axis] - 1);
  }
  return std::max({extent, least, int64_t{1}});
}

void set_sizes(Random& random, const Layer& layer, Input& input) {
  if (!layer.conv) {
    input.lead = pick<std::vector<int64_t>>(
        random, {{}, {1}, {1}, {1, 1}, {0}, {2}, {3}, {16}, {2, 7}, {33}, {64}, {1, 130}, {2, 3, 5}});
    for (const int64_t dim : input.lead) {
      input.batch *= dim;
    }
    return;
  }
  input.batch = layer.kind == Kind::vector ? 1 : pick<int64_t>(random, {0, 1, 1, 1, 1, 1, 2, 3, 4, 5});
  for (size_t axis = layer.rank == 1 ? 1 : 0; axis < 2; ++axis) {
    input.size[axis] = random_extent(random, layer, axis);
    const int64_t padded = input.size[axis] + layer.begin[axis] + layer.end[axis];
    input.output[axis] = (padded - window_of(layer, axis)) / layer.strides[axis] + 1;
  }
}

double work_of(const Layer& layer, const Input& input) {
  const auto pixels = static_cast<double>(input.batch * input.output[0] * input.output[1]);
  const auto all = static_cast<double>(layer.channels * layer.groups * input.size[0] * input.size[1]);
  return pixels * static_cast<double>(layer.columns.size() + static_cast<size_t>(layer.rows)) +
         all * static_cast<double>(input.batch);
}

std::vector<float> random_floats(Random& random, int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> data(static_cast<size_t>(count));
  for (float& value : data) {
    value = normal(random);
  }
  for (size_t i = 0; i < data.size() && chance(random, 30); i += random() % 7) {
    data[random() % data.size()] = pick(random, {0.0F, -0.0F});
  }
  if (!data.empty() && chance(random, 3)) {
    const float infinity = std::numeric_limits<float>::infinity();
    data[random() % data.size()] = pick(random, {infinity, -infinity, std::nanf("")});
  }
  return data;
}

}  // namespace

Case random_case(Random& random) {
  Case made;
  Layer& layer = made.layer;
  // Half of the cases are for sparse weights, whose kernels have the most ways.
#define SPARSE_EXPORT_FAMILY(kernel, prefix) Family::kernel,
  layer.family = pick(random, {SPARSE_EXPORT_PREFIXES(SPARSE_EXPORT_FAMILY) Family::f32_csr, Family::rows,
                               Family::bit_bit, Family::s8_csr, Family::s8_csr});
#undef SPARSE_EXPORT_FAMILY
  if (layer.family == Family::rows) {
    layer.format = random_format(random);
  }
  layer.conv = chance(random, 60);
  if (layer.family == Family::bit_bit) {
    layer.packed_x = chance(random, 50);
    layer.packed_y = chance(random, 30);
  }
  layer.kind = random_kind(random, layer);
  set_shape(random, layer, layer.kind);
  if (layer.packed_x || layer.packed_y) {
    layer.rank = 2;
    layer.rows *= layer.packed_y && layer.groups > 1 ? 8 : 1;  // the outputs of a group fill bytes
  }
  set_windows(random, layer, layer.kind);
  set_epilogue(random, layer);
  if (layer.family == Family::s8_csr) {
    set_quantization(random, layer);
  }
  made.packed = random_weights(random, layer);
  return made;
}

Input random_input(Random& random, const Layer& layer) {
  Input input;
  for (int attempt = 0; attempt < 200; ++attempt) {
    input = {};
    set_sizes(random, layer, input);
    if (work_of(layer, input) < most_work) {
      break;
    }
  }
  input.aligned = chance(random, 80);
  input.threads = pick<size_t>(random, {1, 1, 2, 3});
  input.x = random_floats(random, input.batch * layer.channels * layer.groups * input.size[0] * input.size[1]);
  if (layer.residual) {
    input.z = random_floats(random, input.batch * layer.rows * input.output[0] * input.output[1]);
    input.in_place = chance(random, 50);
  }
  if (layer.family == Family::s8_csr) {
    set_quantized_input(random, layer, input);
  }
  return input;
}

}  // namespace fuzz
