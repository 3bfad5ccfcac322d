// Random valid layers through every operator, against double precision and under sanitizers.
//
// The instruction set is SPARSE_EXPORT_TARGET's. A result may differ from the exact one by
//   epsilon * (4 + sqrt(terms)) * (|scale| * sum of |weight * x| + |bias| + |residual|)
// where `terms` are the entries of its row; the results of Xnor* must be equal to the last bit. Scratch memory and
// outputs start as NaN: what a kernel forgets to write, or reads before, shows.
//   campaign [cases] [seed] [only this case]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <map>
#include <thread>

#include "../dispatch.h"
#include "campaign_layer.h"

// Fresh memory is NaN as floats and far out of range as offsets.
extern "C" const char* __asan_default_options() { return "malloc_fill_byte=255:max_malloc_fill_size=67108864"; }

namespace {

using namespace campaign;

struct Tally {
  std::map<std::string, int64_t> paths;
  int64_t calls = 0, outputs = 0;
  double worst = 0;  // error over its bound
};

std::vector<int64_t> shape_of(const Layer& layer, const Input& input, int64_t channels, const Pair& size) {
  std::vector<int64_t> shape = input.lead;
  if (layer.conv) {
    shape.push_back(input.batch);
  }
  shape.push_back(channels);
  for (size_t axis = layer.rank == 1 ? 1 : 0; layer.conv && axis < 2; ++axis) {
    shape.push_back(size[axis]);
  }
  return shape;
}

// NCHW, or rows, to packed signs: channels last, 1 = negative.
std::vector<uint8_t> packed_signs(const std::vector<double>& data, int64_t batch, int64_t channels, int64_t area) {
  const int64_t bytes = (channels + 7) / 8;
  std::vector<uint8_t> out(static_cast<size_t>(batch * area * bytes));
  for (int64_t i = 0; i < batch * channels * area; ++i) {
    const int64_t image = i / (channels * area), channel = i / area % channels, pixel = i % area;
    const bool negative = !(data[static_cast<size_t>(i)] >= 0);
    out[static_cast<size_t>((image * area + pixel) * bytes + channel / 8)] |=
        static_cast<uint8_t>((negative ? 1 : 0) << channel % 8);
  }
  return out;
}

// The shape of packed signs whose unpacked shape has its channels second, or last of rows.
std::vector<int64_t> packed_shape(const Layer& layer, std::vector<int64_t> shape, int64_t channels) {
  shape.erase(layer.conv ? shape.begin() + 1 : shape.end() - 1);
  shape.push_back((channels + 7) / 8);
  return shape;
}

OrtValue floats(const std::vector<float>& data, std::vector<int64_t> shape, bool aligned = true) {
  return OrtValue(1, std::move(shape), data.data(), data.size() * sizeof(float), aligned ? 0 : 4);
}

// The operator's inputs with this call's X and Z; the packed ones stay where they are.
void set_inputs(const Layer& layer, const Input& input, std::vector<OrtValue>& inputs) {
  const int64_t channels = layer.channels * layer.groups;
  const std::vector<int64_t> shape = shape_of(layer, input, channels, input.size);
  inputs.front() = floats(input.x, shape, input.aligned);
  if (layer.packed_x) {
    const std::vector<double> values(input.x.begin(), input.x.end());
    const std::vector<uint8_t> signs = packed_signs(values, input.batch, channels, input.size[0] * input.size[1]);
    inputs.front() = OrtValue(2, packed_shape(layer, shape, channels), signs.data(), signs.size(), input.aligned ? 0 : 1);
  }
  if (layer.residual) {
    inputs.back() = floats(input.z, shape_of(layer, input, layer.rows, input.output), input.aligned);
  }
}

std::string text(OrtStatus* status) {
  const std::string message = status == nullptr ? "" : status->message;
  delete status;
  return message;
}

std::string list(const std::vector<int64_t>& values) {
  std::string out = "[";
  for (const int64_t value : values) {
    out += (out.size() > 1 ? ", " : "") + std::to_string(value);
  }
  return out + "]";
}

std::string compare(const Expected& expected, const OrtValue& output, Tally& tally) {
  const auto* y = static_cast<const float*>(output.data);
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const double value = expected.value[i], bound = expected.bound[i], error = std::abs(double{y[i]} - value);
    const bool same = std::isnan(value) ? std::isnan(y[i]) : double{y[i]} == value;
    if (!same && !(std::isfinite(value) && error <= bound)) {
      return "output " + std::to_string(i) + " is " + std::to_string(y[i]) + ", not " + std::to_string(value) + " +- " +
             std::to_string(bound);
    }
    if (!same && std::isfinite(bound)) {
      tally.worst = std::max(tally.worst, error / bound);
    }
  }
  tally.outputs += static_cast<int64_t>(expected.value.size());
  return "";
}

// The input that the operator allows its output to overwrite.
OrtValue* in_place(const OrtCustomOp* op, std::vector<OrtValue>& inputs) {
  if (op->GetMayInplace == nullptr) {
    return nullptr;
  }
  int* from = nullptr;
  int* to = nullptr;
  OrtValue* found = op->GetMayInplace(&from, &to) == 1 && *to == 0 ? &inputs.at(static_cast<size_t>(*from)) : nullptr;
  op->ReleaseMayInplace(from, to);
  return found;
}

// One call on threads of its own, so that no scratch memory is left from the case before; what is wrong, or nothing.
std::string call(const OrtCustomOp* op, void* kernel, const Case& made, const Input& input,
                 std::vector<OrtValue>& inputs, Tally& tally) {
  const Layer& layer = made.layer;
  set_inputs(layer, input, inputs);
  OrtKernelContext context;
  context.inputs = &inputs;
  context.output_type = op->GetOutputType(op, 0);
  context.shared = input.in_place ? in_place(op, inputs) : nullptr;
  fake::threads() = input.threads;
  std::string wrong, path;
  std::thread([&] {
    wrong = text(op->KernelComputeV2(kernel, &context));
    path = path_of(made, input, inputs.front().data);
  }).join();
  if (!wrong.empty()) {
    return wrong;
  }
  ++tally.calls;
  ++tally.paths[path];
  const std::vector<int64_t> shape = shape_of(layer, input, layer.rows, input.output);
  if (context.output.info.shape != (layer.packed_y ? packed_shape(layer, shape, layer.rows) : shape)) {
    return "the output has shape " + list(context.output.info.shape);
  }
  const Expected expected = expect(layer, input);
  if (layer.packed_y) {
    const auto signs = packed_signs(expected.value, input.batch, layer.rows, input.output[0] * input.output[1]);
    tally.outputs += static_cast<int64_t>(signs.size());
    const bool same = std::equal(signs.begin(), signs.end(), static_cast<const uint8_t*>(context.output.data));
    return same ? "" : "the packed signs differ";
  }
  return compare(expected, context.output, tally);
}

std::string run(Random& random, const OrtCustomOp* op, Case& made, std::string& about, Tally& tally) {
  const Layer& layer = made.layer;
  std::vector<OrtValue> inputs(1);
  for (OrtValue& packed : made.packed) {
    inputs.emplace_back(packed.info.type, packed.info.shape, packed.data, packed.size);
  }
  inputs.push_back(floats(layer.scale, {layer.rows}));
  inputs.push_back(floats(layer.bias, {layer.rows}));
  inputs.resize(inputs.size() + (layer.residual ? 1 : 0));
  made.info.inputs = &inputs;
  made.info.constant.assign(inputs.size(), true);
  made.info.constant.front() = false;
  void* kernel = nullptr;
  std::string wrong = text(op->CreateKernelV2(op, fake::api(), &made.info, &kernel));
  const int calls = fake::chance(random, 30) ? 2 : 1;  // sizes may change from call to call
  for (int index = 0; index < calls && wrong.empty(); ++index) {
    const Input input = random_input(random, layer);
    about = "call " + std::to_string(index) + ": X " +
            list(shape_of(layer, input, layer.channels * layer.groups, input.size)) + (input.aligned ? "" : " unaligned") +
            ", threads " + std::to_string(input.threads);
    wrong = call(op, kernel, made, input, inputs, tally);
  }
  if (kernel != nullptr) {
    op->KernelDestroy(kernel);
  }
  return wrong;
}

// Half of the cases are for the sparse operators, whose kernels have the most ways.
const OrtCustomOp* random_operator(Random& random) {
  const auto& operators = fake::operators();
  const bool sparse = fake::chance(random, 50);
  while (true) {
    const OrtCustomOp* op = operators[random() % operators.size()];
    const std::string name = op->GetName(op);
    if (sparse ? name.rfind("Sparse", 0) == 0 : name != "XnorMaxPool") {  // pooling is compared in Python
      return op;
    }
  }
}

bool run_case(uint64_t seed, int64_t index, Tally& tally) {
  std::seed_seq sequence{seed, static_cast<uint64_t>(index)};
  Random random(sequence);
  const OrtCustomOp* op = random_operator(random);
  Case made = random_case(random, op->GetName(op));
  std::string about = "creation";
  const std::string wrong = run(random, op, made, about, tally);
  if (wrong.empty()) {
    return true;
  }
  std::printf("case %lld of seed %llu, %s\n", static_cast<long long>(index), static_cast<unsigned long long>(seed),
              op->GetName(op));
  for (const auto& [name, values] : made.info.lists) {
    std::printf("  %s %s\n", name.c_str(), list(values).c_str());
  }
  for (const OrtValue& packed : made.packed) {
    std::printf("  packed: type %d %s\n", packed.info.type, list(packed.info.shape).c_str());
  }
  std::printf("  group %lld, bounds %g %g\n  %s\n%s\n", static_cast<long long>(made.layer.groups), made.layer.low,
              made.layer.high, about.c_str(), wrong.c_str());
  return false;
}

// Of a long run: every way through the sparse kernels must have been taken.
bool complete(const Tally& tally) {
  bool all = true;
  for (const char* path : {"vector", "direct", "pixels", "narrow", "strips", "plain"}) {
    if (tally.paths.count(path) == 0) {
      std::printf("no case took the way '%s'\n", path);
      all = false;
    }
  }
  return all;
}

}  // namespace

int main(int count, char** arguments) {
  const int64_t cases = count > 1 ? std::atoll(arguments[1]) : 2000;
  const uint64_t seed = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1;
  const int64_t only = count > 3 ? std::atoll(arguments[3]) : -1;
  sparse_export::Target target;
  try {
    target = sparse_export::detect_target();
  } catch (const std::exception& error) {
    std::printf("skipped: %s\n", error.what());
    return 77;
  }
  fake::load();
  Tally tally;
  for (int64_t index = only < 0 ? 0 : only; index < (only < 0 ? cases : only + 1); ++index) {
    try {
      if (!run_case(seed, index, tally)) {
        return 1;
      }
    } catch (const std::exception& error) {
      std::printf("case %lld: %s\n", static_cast<long long>(index), error.what());
      return 1;
    }
  }
  std::printf("%s: %lld cases, %lld calls, %lld outputs over %zu operators; worst error %.3f of its bound\n ",
              sparse_export::target_names[static_cast<size_t>(target)], static_cast<long long>(cases),
              static_cast<long long>(tally.calls), static_cast<long long>(tally.outputs), fake::operators().size(),
              tally.worst);
  for (const auto& [path, calls] : tally.paths) {
    std::printf(" %s %lld", path.c_str(), static_cast<long long>(calls));
  }
  std::printf("\n");
  // The reference has no plans, and the scalar kernels' vectors are no longer than the narrow ones.
  const bool planned = target > sparse_export::Target::scalar;
  return !planned || only >= 0 || cases < 2000 || complete(tally) ? 0 : 1;
}
