// Random layers and inputs: each kind of shape leads the kernels onto another way through their code.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "campaign_layer.h"

namespace campaign {
namespace {

using fake::chance;
using fake::pick;
using fake::uniform;

constexpr double most_work = 1e6;  // multiply-adds of one call, or outputs

Kind random_kind(Random& random, const Layer& layer) {
  const bool sparse = layer.family == Family::sparse;
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
    layer.channels = uniform(random, 1, 12);
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

// ---- Weights --------------------------------------------------------------------------------------------------------

// A number of a binary float format with this many exponent and mantissa bits, and its bits.
float random_float(Random& random, int exponent_bits, int mantissa_bits, uint16_t& bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto mantissa = static_cast<int>(uniform(random, 0, (1 << mantissa_bits) - 1));
  const int exponent = chance(random, 3) && exponent_bits < 8 ? 0 : static_cast<int>(uniform(random, bias - 5, bias + 2));
  const bool negative = chance(random, 50);
  bits = static_cast<uint16_t>((negative ? 1 : 0) << 15 | exponent << mantissa_bits | mantissa);
  const double fraction = std::ldexp(mantissa, -mantissa_bits);
  const double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return static_cast<float>(negative ? -magnitude : magnitude);
}

template <class T>
OrtValue tensor(int type, const std::vector<T>& data, std::vector<int64_t> shape) {
  return OrtValue(type, std::move(shape), data.data(), data.size() * sizeof(T));
}

template <class T>
OrtValue narrowed(int type, const std::vector<int64_t>& values) {
  return tensor(type, std::vector<T>(values.begin(), values.end()), {static_cast<int64_t>(values.size())});
}

// What `make` stores and returns for every entry; a filler (0 until now) stays +0.
template <class T, class Make>
OrtValue make_values(int type, std::vector<float>& values, Make make) {
  std::vector<T> stored(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = values[i] == 0 ? 0 : make(stored[i]);
  }
  return tensor(type, stored, {static_cast<int64_t>(stored.size())});
}

// Gives every entry that is no filler a value of a random storage type.
OrtValue random_values(Random& random, std::vector<float>& values) {
  switch (uniform(random, 0, 4)) {
    case 0:
      return make_values<uint16_t>(10, values, [&](uint16_t& bits) { return random_float(random, 5, 10, bits); });
    case 1:
      return make_values<uint16_t>(16, values, [&](uint16_t& bits) { return random_float(random, 8, 7, bits); });
    case 2:
      return make_values<int8_t>(3, values, [&](int8_t& stored) {
        stored = static_cast<int8_t>(uniform(random, -128, 127));
        return static_cast<float>(stored);
      });
    default:
      return make_values<float>(1, values, [&](float& stored) {
        return stored = std::normal_distribution<float>()(random);
      });
  }
}

// Columns of one row: the density is met on average, wherever the first and the last one lie.
void add_row(Random& random, Layer& layer, double density, int64_t widest, std::vector<int64_t>& gaps) {
  std::geometric_distribution<int64_t> distance(density);
  int64_t column = -1, next = distance(random);
  const auto add = [&](int64_t at, float value) {
    gaps.push_back(at - column - 1);
    layer.columns.push_back(at);
    layer.values.push_back(value);
    column = at;
  };
  for (; next < layer.row_columns() && next >= 0; next = column + 1 + distance(random)) {
    while (next - column - 1 > widest) {
      add(column + 1 + widest, 0);  // a filler: the gap does not fit
    }
    add(next, 1);
  }
  layer.first.push_back(static_cast<int64_t>(gaps.size()));
}

std::vector<OrtValue> random_csr(Random& random, Layer& layer) {
  const int64_t width = layer.row_columns();
  double density = pick(random, {0.01, 0.05, 0.1, 0.1, 0.3, 0.9});
  if (width > 2000) {
    density = pick(random, {2.0, 20.0, 100.0}) / static_cast<double>(width);
  }
  const int bytes = width > 100'000 ? 4 : pick(random, {1, 1, 2, 4});
  const int64_t widest = bytes == 1 ? 255 : bytes == 2 ? 65535 : int64_t{UINT32_MAX};
  std::vector<int64_t> gaps;
  layer.first = {0};
  for (int64_t row = 0; row < layer.rows; ++row) {
    const bool empty = chance(random, 5);
    const bool dense = !empty && width < 2000 && chance(random, 3);
    add_row(random, layer, empty ? 1e-9 : dense ? 0.999 : density, widest, gaps);
  }
  std::vector<OrtValue> packed;
  const int pointer = layer.columns.size() > UINT16_MAX ? pick(random, {12, 13}) : pick(random, {4, 12, 13});
  packed.push_back(pointer == 4    ? narrowed<uint16_t>(4, layer.first)
                   : pointer == 12 ? narrowed<uint32_t>(12, layer.first)
                                   : narrowed<uint64_t>(13, layer.first));
  packed.push_back(bytes == 1   ? narrowed<uint8_t>(2, gaps)
                   : bytes == 2 ? narrowed<uint16_t>(4, gaps)
                                : narrowed<uint32_t>(12, gaps));
  packed.push_back(random_values(random, layer.values));
  return packed;
}

std::vector<OrtValue> random_bits(Random& random, Layer& layer) {
  const int64_t width = layer.row_columns(), bytes = (width + 7) / 8, taps = layer.kernel[0] * layer.kernel[1];
  std::vector<uint8_t> bits(static_cast<size_t>(layer.rows * bytes));
  layer.first = {0};
  for (int64_t row = 0; row < layer.rows; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      const bool negative = chance(random, 50);
      // The channels of Xnor* lie last.
      const int64_t place = layer.family == Family::xnor ? column % taps * layer.channels + column / taps : column;
      bits[static_cast<size_t>(row * bytes + place / 8)] |= static_cast<uint8_t>((negative ? 1 : 0) << place % 8);
      layer.columns.push_back(column);
      layer.values.push_back(negative ? -1.0F : 1.0F);
    }
    layer.first.push_back(static_cast<int64_t>(layer.columns.size()));
  }
  std::vector<OrtValue> packed;
  packed.push_back(tensor(2, bits, {layer.rows, bytes}));
  return packed;
}

// ---- Attributes -----------------------------------------------------------------------------------------------------

void set_attributes(const Layer& layer, OrtKernelInfo& info) {
  info.lists["shape"] = {layer.rows, layer.channels};
  if (layer.conv) {
    for (size_t axis = layer.rank == 1 ? 1 : 0; axis < 2; ++axis) {
      info.lists["shape"].push_back(layer.kernel[axis]);
      info.lists["strides"].push_back(layer.strides[axis]);
      info.lists["dilations"].push_back(layer.dilations[axis]);
      info.lists["pads"].push_back(layer.begin[axis]);
    }
    for (size_t axis = layer.rank == 1 ? 1 : 0; axis < 2; ++axis) {
      info.lists["pads"].push_back(layer.end[axis]);
    }
    info.integers["group"] = layer.groups;
  }
  info.floats = {{"min", layer.low}, {"max", layer.high}};
}

void set_epilogue(Random& random, Layer& layer, const std::string& suffix) {
  layer.suffix = suffix;
  layer.residual = suffix.rfind("Add", 0) == 0;
  const std::string activation = layer.residual ? suffix.substr(3) : suffix;
  if (activation == "Relu") {
    layer.low = 0;
  } else if (activation == "Clip") {
    layer.low = static_cast<float>(uniform(random, -4, 1));
    layer.high = layer.low + static_cast<float>(uniform(random, 0, 6));
  }
  std::normal_distribution<float> normal;
  for (int64_t row = 0; row < layer.rows; ++row) {
    layer.scale.push_back((chance(random, 50) ? 1.0F : -1.0F) * (0.25F + std::abs(normal(random))));
    layer.bias.push_back(chance(random, 10) ? 0.0F : normal(random));
  }
}

Layer named_layer(const std::string& name, std::string& suffix) {
  Layer layer;
  constexpr std::pair<const char*, Family> families[] = {
      {"Sparse", Family::sparse}, {"BinaryWeight", Family::binary}, {"XnorPacked", Family::xnor}, {"Xnor", Family::xnor}};
  for (const auto& [prefix, family] : families) {
    for (const char* type : {"Conv", "MatMul"}) {
      const std::string base = std::string(prefix) + type;
      if (name.rfind(base, 0) == 0) {
        layer.family = family;
        layer.conv = type[0] == 'C';
        suffix = name.substr(base.size());
        layer.packed_x = std::string(prefix) == "XnorPacked";
        layer.packed_y = suffix == "Sign";
        return layer;
      }
    }
  }
  throw std::runtime_error("the campaign knows no operator " + name);
}

// ---- Inputs ---------------------------------------------------------------------------------------------------------

int64_t window_of(const Layer& layer, size_t axis) { return layer.dilations[axis] * (layer.kernel[axis] - 1) + 1; }

int64_t random_extent(Random& random, const Layer& layer, size_t axis) {
  const int64_t least = window_of(layer, axis) - layer.begin[axis] - layer.end[axis];
  int64_t extent = chance(random, 60) ? pick<int64_t>(random, {1, 2, 4, 7, 8, 14, 16, 17, 28, 32, 40, 56})
                                      : uniform(random, 1, 48);
  if (layer.kind == Kind::vector || layer.kind == Kind::huge_window || chance(random, 10)) {
    extent = layer.kind == Kind::huge_window ? uniform(random, 1, 130) : 1;
  } else if (layer.kind == Kind::tiny_map) {
    extent = uniform(random, 1, 4);
  } else if (layer.kind == Kind::pointwise && chance(random, 60)) {
    extent = pick<int64_t>(random, {4, 8, 12, 16, 20, 28, 48});  // areas of whole vectors
  } else if (layer.kind == Kind::window && chance(random, 80)) {  // output rows that nearly fill vectors
    const int64_t output = axis == 0 ? uniform(random, 4, 20) : pick<int64_t>(random, {12, 14, 15, 16, 24, 28, 31, 32, 48});
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

Case random_case(Random& random, const std::string& name) {
  Case made;
  std::string suffix;
  made.layer = named_layer(name, suffix);
  Layer& layer = made.layer;
  layer.kind = random_kind(random, layer);
  set_shape(random, layer, layer.kind);
  if (layer.packed_x || layer.packed_y) {
    layer.rank = 2;
    layer.rows *= layer.packed_y && layer.groups > 1 ? 8 : 1;  // the outputs of a group fill bytes
  }
  set_windows(random, layer, layer.kind);
  set_epilogue(random, layer, suffix);
  made.packed = layer.family == Family::sparse ? random_csr(random, layer) : random_bits(random, layer);
  set_attributes(layer, made.info);
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
  return input;
}

}  // namespace campaign
