// Random packed inputs and attributes through every operator's creation and computation.
//
// Built with AddressSanitizer and UndefinedBehaviorSanitizer: the only allowed outcomes are a result and a status.
// About half of the cases are valid, the others are valid but for a few mutations.
//   fuzz_ops [cases] [seed]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <numeric>
#include <string>

#include "expand_case.h"
#include "fake_runtime.h"
#include "layer_weights.h"
#include "quantized_inputs.h"
#include "random.h"

namespace {

using fuzz::chance;
using fuzz::odd_value;
using fuzz::Random;
using fuzz::uniform;

template <class T>
OrtValue tensor_of(int type, const std::vector<int64_t>& values) {
  std::vector<T> data(values.begin(), values.end());
  return OrtValue(type, {static_cast<int64_t>(data.size())}, data.data(), data.size() * sizeof(T));
}

OrtValue unsigned_tensor(Random& random, const std::vector<int64_t>& values, bool pointers) {
  switch (uniform(random, pointers ? 1 : 0, pointers ? 3 : 2)) {
    case 0:
      return tensor_of<uint8_t>(2, values);
    case 1:
      return tensor_of<uint16_t>(4, values);
    case 2:
      return tensor_of<uint32_t>(12, values);
    default:
      return tensor_of<uint64_t>(13, values);
  }
}

size_t count_of(const std::vector<int64_t>& shape) {
  return static_cast<size_t>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
}

OrtValue float_tensor(Random& random, std::vector<int64_t> shape) {
  std::vector<float> data(count_of(shape));
  for (float& value : data) {
    value = static_cast<float>(uniform(random, -8, 8));
  }
  if (!data.empty() && chance(random, 5)) {
    data[0] = chance(random, 50) ? std::numeric_limits<float>::infinity() : std::nanf("");
  }
  return OrtValue(1, std::move(shape), data.data(), data.size() * sizeof(float));
}

struct Case {
  std::vector<OrtValue> inputs;
  OrtKernelInfo info;
};

void add_csr(Random& random, int64_t rows, int64_t columns, std::vector<OrtValue>& inputs) {
  std::vector<int64_t> indptr{0};
  std::vector<int64_t> gaps;
  const int64_t spread = uniform(random, 0, 20);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t column = -1;
    while (true) {
      const int64_t gap = uniform(random, 0, spread);
      if (column + 1 + gap >= columns) {
        break;
      }
      column += 1 + gap;
      gaps.push_back(gap);
    }
    indptr.push_back(static_cast<int64_t>(gaps.size()));
  }
  while (chance(random, 30)) {  // break something
    std::vector<int64_t>& target = chance(random, 50) ? indptr : gaps;
    if (target.empty()) {
      break;
    }
    const size_t at = static_cast<size_t>(uniform(random, 0, static_cast<int64_t>(target.size()) - 1));
    switch (uniform(random, 0, 3)) {
      case 0:
        target[at] = odd_value(random);
        break;
      case 1:
        target[at] = static_cast<int64_t>(static_cast<uint64_t>(target[at]) + random() % 5 - 2);
        break;
      case 2:
        target.push_back(odd_value(random));
        break;
      default:
        target.pop_back();
    }
  }
  inputs.push_back(unsigned_tensor(random, indptr, true));
  inputs.push_back(unsigned_tensor(random, gaps, false));
  constexpr int types[] = {1, 10, 16, 3};
  constexpr size_t sizes[] = {4, 2, 2, 1};
  const size_t kind = static_cast<size_t>(uniform(random, 0, 3));
  const size_t count = gaps.size() + (chance(random, 3) ? 1 : 0);
  std::vector<uint8_t> bytes(count * sizes[kind]);
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  inputs.emplace_back(types[kind], std::vector<int64_t>{static_cast<int64_t>(count)}, bytes.data(), bytes.size());
}

void add_bits(Random& random, int64_t rows, int64_t columns, std::vector<OrtValue>& inputs) {
  const int64_t width = (columns + 7) / 8 + (chance(random, 5) ? uniform(random, -1, 1) : 0);
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * width));
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  for (int64_t row = 0; row < rows && columns % 8 != 0 && width > 0 && !chance(random, 5); ++row) {
    bytes[static_cast<size_t>(row * width + width - 1)] &= static_cast<uint8_t>((1 << columns % 8) - 1);
  }
  inputs.emplace_back(2, std::vector<int64_t>{rows, width}, bytes.data(), bytes.size());
}

// The format of kernels/rows whose operator this is, or null.
const char* format_of(const std::string& name) {
#define SPARSE_EXPORT_SOURCE(format, prefix, ...)                    \
  for (const char* layer : {"Conv", "MatMul", "QConv", "QMatMul", "FConv", "FMatMul"}) { \
    if (name.rfind(std::string(prefix) + layer, 0) == 0) {           \
      return #format;                                                \
    }                                                                \
  }
#include "kernels/rows/sources.def"
#undef SPARSE_EXPORT_SOURCE
  return nullptr;
}

// A layer of the kernel whose operator this is, or of the format that is read as rows.
fuzz::Layer layer_of(const std::string& name) {
  fuzz::Layer layer;
#define SPARSE_EXPORT_FAMILY(kernel, prefix)     \
  if (name.rfind(std::string(prefix), 0) == 0) { \
    layer.family = fuzz::Family::kernel;         \
  }
  SPARSE_EXPORT_PREFIXES(SPARSE_EXPORT_FAMILY)
#undef SPARSE_EXPORT_FAMILY
  if (const char* format = format_of(name)) {
    layer.family = fuzz::Family::rows;
    layer.format = format;
  }
  return layer;
}

// Valid components, of which some bytes are then changed, or a dimension.
void add_weights(Random& random, const std::string& name, const std::vector<int64_t>& shape, int64_t rows,
                 std::vector<OrtValue>& inputs) {
  fuzz::Layer layer = layer_of(name);
  layer.rows = rows;
  layer.channels = shape[1];
  for (size_t axis = 2; axis < shape.size(); ++axis) {
    layer.kernel[4 - shape.size() + axis - 2] = shape[axis];
  }
  for (fuzz::Buffer& part : fuzz::random_weights(random, layer)) {
    while (chance(random, 15) && part.size > 0) {
      static_cast<uint8_t*>(part.data)[random() % part.size] = static_cast<uint8_t>(random());
    }
    if (chance(random, 3) && !part.shape.empty()) {
      int64_t& dim = part.shape[random() % part.shape.size()];
      dim = dim > 0 ? dim - 1 : 0;
    }
    inputs.emplace_back(std::move(part));
  }
}

// Packed signs: every byte is allowed, the bits past the last channel too.
OrtValue random_bytes(Random& random, std::vector<int64_t> shape) {
  std::vector<uint8_t> bytes(count_of(shape));
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  return OrtValue(2, std::move(shape), bytes.data(), bytes.size());
}

void mutate(Random& random, Case& made) {
  if (chance(random, 15)) {
    auto list = made.info.lists.begin();
    std::advance(list, uniform(random, 0, static_cast<int64_t>(made.info.lists.size()) - 1));
    switch (uniform(random, 0, 3)) {
      case 0:
        made.info.lists.erase(list);
        break;
      case 1:
        list->second.push_back(odd_value(random));
        break;
      case 2:
        list->second.assign(static_cast<size_t>(uniform(random, 0, 100)), odd_value(random));
        break;
      default:
        if (!list->second.empty()) {
          list->second[static_cast<size_t>(random() % list->second.size())] = odd_value(random);
        }
    }
  }
  if (chance(random, 4)) {
    made.info.integers["group"] = odd_value(random);
  }
  if (chance(random, 4)) {
    std::swap(made.inputs[random() % made.inputs.size()], made.inputs[random() % made.inputs.size()]);
  }
  if (chance(random, 2)) {
    made.inputs.pop_back();
  }
  if (chance(random, 2) && !made.inputs.empty()) {
    OrtValue& input = made.inputs[random() % made.inputs.size()];
    const std::vector<int64_t> shape = input.shape;
    const std::vector<uint64_t> bytes(count_of(shape), random());  // enough for every type
    input = OrtValue(static_cast<int>(uniform(random, 0, 17)), shape, bytes.data(), bytes.size() * 8);
  }
}

// Fields of the window along one axis, and an input extent it fits.
struct Axis {
  int64_t kernel, stride, dilation, begin, end, extent;
};

Axis random_axis(Random& random) {
  Axis axis{uniform(random, 1, 4), uniform(random, 1, 3), uniform(random, 1, 2),
            uniform(random, 0, 2), uniform(random, 0, 2), uniform(random, 1, 20)};
  if (chance(random, 25)) {
    axis = {1, 1, 1, 0, 0, uniform(random, 1, 20)};
  }
  return axis;
}

std::vector<int64_t> add_window(Random& random, bool one_dimension, OrtKernelInfo& info, std::vector<int64_t>& shape) {
  std::vector<int64_t> spatial;
  std::vector<int64_t> ends;
  for (int i = one_dimension ? 1 : 0; i < 2; ++i) {
    const Axis axis = random_axis(random);
    shape.push_back(axis.kernel);
    info.lists["strides"].push_back(axis.stride);
    info.lists["dilations"].push_back(axis.dilation);
    info.lists["pads"].push_back(axis.begin);
    ends.push_back(axis.end);
    spatial.push_back(axis.extent);
  }
  for (const int64_t end : ends) {
    info.lists["pads"].push_back(end);
  }
  return spatial;
}

Case random_pool(Random& random, bool signs) {
  Case made;
  std::vector<int64_t> window;
  std::vector<int64_t> shape = add_window(random, false, made.info, window);
  made.info.lists["kernel_shape"] = window;
  for (size_t i = 0; i < 4 && chance(random, 90); ++i) {  // padding as large as the window is refused
    made.info.lists["pads"][i] = std::min(made.info.lists["pads"][i], window[i % 2] - 1);
  }
  if (!signs) {
    made.info.lists["ceil_mode"] = {chance(random, 95) ? uniform(random, 0, 1) : odd_value(random)};
    shape.insert(shape.begin(), {uniform(random, 0, 3), uniform(random, 1, 9)});
    made.inputs.push_back(random_bytes(random, shape));
    return made;
  }
  const int64_t bytes = uniform(random, 1, 9);
  shape.insert(shape.begin(), uniform(random, 0, 3));
  shape.push_back(bytes + (chance(random, 5) ? 1 : 0));
  made.inputs.push_back(random_bytes(random, shape));
  made.inputs.push_back(random_bytes(random, {bytes}));
  return made;
}

// Output shape of a valid convolution, for the residual input.
std::vector<int64_t> output_shape(const Case& made, bool packed) {
  std::vector<int64_t> x = made.inputs[0].shape;
  if (packed) {
    x.insert(x.begin() + 1, x.back());
  }
  const auto& shape = made.info.lists.at("shape");
  std::vector<int64_t> out{x[0], shape[0]};
  const size_t rank = shape.size() - 2;
  for (size_t i = 0; i < rank; ++i) {
    const auto& pads = made.info.lists.at("pads");
    const int64_t window = made.info.lists.at("dilations")[i] * (shape[2 + i] - 1) + 1;
    const int64_t extent = x[2 + i] + pads[i] + pads[i + rank] - window;
    out.push_back(extent < 0 ? 0 : extent / made.info.lists.at("strides")[i] + 1);
  }
  return out;
}

Case random_case(Random& random, const std::string& name, size_t inputs) {
  if (name.find("Pool") != std::string::npos) {
    return random_pool(random, name.rfind("Xnor", 0) == 0);
  }
  Case made;
  const bool conv = name.find("Conv") != std::string::npos;
  const int64_t group = conv && chance(random, 30) ? uniform(random, 2, 3) : 1;
  const int64_t rows = group * uniform(random, 1, 9);
  const int64_t channels = uniform(random, 1, conv ? 8 : 60);
  std::vector<int64_t> shape{rows, channels};
  std::vector<int64_t> x_shape{uniform(random, 0, 3), channels * group};
  if (conv) {
    const std::vector<int64_t> spatial = add_window(random, chance(random, 25), made.info, shape);
    x_shape.insert(x_shape.end(), spatial.begin(), spatial.end());
    made.info.integers["group"] = group;
  } else if (chance(random, 30)) {
    x_shape.erase(x_shape.begin());
  }
  int64_t columns = 1;
  for (size_t i = 1; i < shape.size(); ++i) {
    columns *= shape[i];
  }
  made.info.lists["shape"] = shape;
  made.info.floats = {{"min", -1.0F}, {"max", chance(random, 90) ? 6.0F : std::nanf("")}};
  if (chance(random, 5)) {
    x_shape[static_cast<size_t>(random() % x_shape.size())] += 1;
  }
  if (name.find("Packed") != std::string::npos) {
    const size_t axis = conv ? 1 : x_shape.size() - 1;
    const int64_t channels = x_shape[axis];
    x_shape.erase(x_shape.begin() + static_cast<std::ptrdiff_t>(axis));
    x_shape.push_back((channels + 7) / 8);
    made.inputs.push_back(random_bytes(random, x_shape));
  } else if (fuzz::is_quantized(name)) {
    fuzz::add_quantized_x(random, x_shape, made.inputs);
  } else {
    made.inputs.push_back(float_tensor(random, x_shape));
  }
  if (name.rfind("Sparse", 0) == 0) {
    add_csr(random, rows, columns, made.inputs);
  } else if (name.rfind("BinaryWeight", 0) == 0 || name.rfind("Xnor", 0) == 0) {
    add_bits(random, rows, columns, made.inputs);
  } else {
    add_weights(random, name, shape, rows, made.inputs);
  }
  if (fuzz::is_quantized(name)) {
    const bool right = conv && !chance(random, 5);
    fuzz::add_quantized_rest(random, name, rows, right ? output_shape(made, false) : x_shape, made.inputs);
    return made;
  }
  while (made.inputs.size() < inputs) {
    made.inputs.push_back(float_tensor(random, {rows}));
  }
  return made;
}

// The residual's shape is the output's: found by running the operator without a right one first.
bool run_case(Random& random, const OrtCustomOp* op, Case& made) {
  made.info.inputs = &made.inputs;
  made.info.constant.assign(made.inputs.size(), true);
  if (chance(random, 2) && !made.inputs.empty()) {
    made.info.constant[random() % made.inputs.size()] = false;
  }
  void* kernel = nullptr;
  if (OrtStatus* status = op->CreateKernelV2(op, fake::api(), &made.info, &kernel)) {
    delete status;
    return false;
  }
  OrtKernelContext context;
  context.inputs = &made.inputs;
  context.output_type = op->GetOutputType(op, 0);
  OrtStatus* status = op->KernelComputeV2(kernel, &context);
  const bool computed = status == nullptr;
  delete status;
  op->KernelDestroy(kernel);
  return computed;
}

}  // namespace

int main(int count, char** arguments) {
  const int64_t cases = count > 1 ? std::atoll(arguments[1]) : 1'000'000;
  Random random(count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1);
  fake::load();
  const auto& operators = fake::operators();
  int64_t computed = 0;
  for (int64_t index = 0; index < cases; ++index) {
    const OrtCustomOp* op = operators[random() % operators.size()];
    const std::string name = op->GetName(op);
    const size_t inputs = op->GetInputTypeCount(op);
    Case made = random_case(random, name, inputs);
    if (name.find("Add") != std::string::npos && !fuzz::is_quantized(name) && !chance(random, 5)) {
      made.inputs.back() = float_tensor(random, output_shape(made, name.find("Packed") != std::string::npos));
    }
    if (chance(random, 40)) {
      mutate(random, made);
    }
    fuzz::expand_case(name, made.inputs, made.info);
    computed += run_case(random, op, made) ? 1 : 0;
  }
  std::printf("%lld cases over %zu operators: %lld computed, %lld refused\n", static_cast<long long>(cases),
              operators.size(), static_cast<long long>(computed), static_cast<long long>(cases - computed));
  return computed > cases / 5 && computed < cases ? 0 : 1;
}
