// Random valid layers through the kernels of every family, against double precision and under sanitizers.
//
// The instruction set is SPARSE_EXPORT_TARGET's. A result may differ from the exact one by
//   epsilon * (4 + sqrt(terms)) * (|scale| * sum of |weight * x| + |bias| + |residual|)
// where `terms` are the entries of its row; the results of bit_bit and s8_csr must be equal to the last bit. Scratch memory and
// outputs start as NaN: what a kernel forgets to write, or reads before, shows.
//   random_layers [cases] [seed] [only this case]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <thread>

#include "core/dispatch.h"
#include "layer.h"

// Fresh memory is NaN as floats and far out of range as offsets.
extern "C" const char* __asan_default_options() { return "malloc_fill_byte=255:max_malloc_fill_size=67108864"; }

namespace fuzz {

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

namespace {

struct Tally {
  std::map<std::string, int64_t> paths;
  int64_t calls = 0, outputs = 0;
  double worst = 0;  // error over its bound
};

// The shape of packed signs whose unpacked shape has its channels second, or last of rows.
std::vector<int64_t> packed_shape(const Layer& layer, std::vector<int64_t> shape, int64_t channels) {
  shape.erase(layer.conv ? shape.begin() + 1 : shape.end() - 1);
  shape.push_back((channels + 7) / 8);
  return shape;
}

std::string list(const std::vector<int64_t>& values) {
  std::string out = "[";
  for (const int64_t value : values) {
    out += (out.size() > 1 ? ", " : "") + std::to_string(value);
  }
  return out + "]";
}

std::string compare(const Expected& expected, const Buffer& output, Tally& tally) {
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

Buffer floats(const std::vector<float>& data, std::vector<int64_t> shape, bool aligned) {
  return Buffer(1, std::move(shape), data.data(), data.size() * sizeof(float), aligned ? 0 : 4);
}

Buffer input_of(const Layer& layer, const Input& input) {
  const int64_t channels = layer.channels * layer.groups;
  const std::vector<int64_t> shape = shape_of(layer, input, channels, input.size);
  if (!layer.packed_x) {
    return floats(input.x, shape, input.aligned);
  }
  const std::vector<double> values(input.x.begin(), input.x.end());
  const std::vector<uint8_t> signs = packed_signs(values, input.batch, channels, input.size[0] * input.size[1]);
  return Buffer(2, packed_shape(layer, shape, channels), signs.data(), signs.size(), input.aligned ? 0 : 1);
}

// Not a number, until the kernel has written it.
Buffer output_of(const Layer& layer, const Input& input) {
  const std::vector<int64_t> shape = shape_of(layer, input, layer.rows, input.output);
  if (layer.packed_y) {
    const std::vector<int64_t> packed = packed_shape(layer, shape, layer.rows);
    const std::vector<uint8_t> unset(static_cast<size_t>(sparse_export::checked_count(packed)), 0xA5);
    return buffer_of(2, unset, packed);
  }
  return buffer_of(1, std::vector<float>(static_cast<size_t>(sparse_export::checked_count(shape)), std::nanf("")),
                   shape);
}

// One call on threads of its own, so that no scratch memory is left from the case before; what is wrong, or nothing.
std::string call(const Case& made, const Input& input, Tally& tally) {
  const Layer& layer = made.layer;
  const Buffer x = input_of(layer, input);
  Buffer z, y = output_of(layer, input);
  if (layer.residual) {
    z = floats(input.z, y.shape, input.aligned);
  }
  // The output may take over the residual's memory.
  const bool shared = layer.residual && input.in_place;
  std::string wrong, path;
  std::thread([&] {
    try {
      run_case(made, input, x, layer.residual ? static_cast<const float*>(z.data) : nullptr, shared ? z : y, path);
    } catch (const std::exception& error) {
      wrong = error.what();
    }
  }).join();
  if (!wrong.empty()) {
    return wrong;
  }
  ++tally.calls;
  ++tally.paths[path];
  const Expected expected = expect(layer, input);
  if (layer.packed_y) {
    const auto signs = packed_signs(expected.value, input.batch, layer.rows, input.output[0] * input.output[1]);
    tally.outputs += static_cast<int64_t>(signs.size());
    const bool same = std::equal(signs.begin(), signs.end(), static_cast<const uint8_t*>(y.data));
    return same ? "" : "the packed signs differ";
  }
  return compare(expected, shared ? z : y, tally);
}

void describe(const Case& made) {
  const Layer& layer = made.layer;
  std::printf("  %s %s, %s%s%s, rows %lld, channels %lld, groups %lld\n",
              family_names[static_cast<size_t>(layer.family)], layer.format.c_str(),
              layer.conv ? "convolution" : "matrix product", layer.packed_x ? ", packed X" : "",
              layer.packed_y ? ", packed Y" : "", static_cast<long long>(layer.rows),
              static_cast<long long>(layer.channels), static_cast<long long>(layer.groups));
  const auto pair = [](const char* name, const Pair& values) {
    std::printf("  %s %lld %lld\n", name, static_cast<long long>(values[0]), static_cast<long long>(values[1]));
  };
  pair("kernel", layer.kernel);
  pair("strides", layer.strides);
  pair("dilations", layer.dilations);
  pair("pads before", layer.begin);
  pair("pads after", layer.end);
  for (const Buffer& packed : made.packed) {
    std::printf("  packed: type %d %s\n", packed.type, list(packed.shape).c_str());
  }
  std::printf("  bounds %g %g\n", double{layer.activation.low}, double{layer.activation.high});
}

bool run_one(uint64_t seed, int64_t index, Tally& tally) {
  std::seed_seq sequence{seed, static_cast<uint64_t>(index)};
  Random random(sequence);
  const Case made = random_case(random);
  const int calls = chance(random, 30) ? 2 : 1;  // sizes may change from call to call
  for (int number = 0; number < calls; ++number) {
    const Input input = random_input(random, made.layer);
    const std::string wrong = call(made, input, tally);
    if (!wrong.empty()) {
      std::printf("case %lld of seed %llu\n", static_cast<long long>(index), static_cast<unsigned long long>(seed));
      describe(made);
      const std::vector<int64_t> shape =
          shape_of(made.layer, input, made.layer.channels * made.layer.groups, input.size);
      std::printf("  call %d: X %s%s, threads %zu\n%s\n", number, list(shape).c_str(),
                  input.aligned ? "" : " unaligned", input.threads, wrong.c_str());
      return false;
    }
  }
  const std::string wrong = index % 4 == 0 ? run_pool(random) : "";
  if (!wrong.empty()) {
    std::printf("case %lld of seed %llu: %s\n", static_cast<long long>(index), static_cast<unsigned long long>(seed),
                wrong.c_str());
  }
  return wrong.empty();
}

// Of a long run: every way through the sparse kernels, and every form, must have been taken. Narrow tiles are of longer
// vectors only.
bool complete(const Tally& tally, const std::string& target) {
  const bool narrow = target.rfind("avx", 0) == 0;
  bool all = true;
  for (const char* path : {"vector", "direct", "pixels", "narrow", "strips", "plain", "bitmask:masked", "nm:masked",
                            "ternary:codes", "codebook:codes", "bitmask:csr", "s8 vector", "s8 flat", "s8 strips",
                            "s8 pixels", "s8 plain", "s8 in floats, vector", "s8 in floats, pixels", "s8 in floats, narrow",
                            "s8 in floats, strips", "s8 in floats, plain", "s8 in floats, pixels, wide",
                            "s8 in floats, narrow, wide", "s8 in floats, strips, wide"}) {
    if (tally.paths.count(path) == 0 && (narrow || std::strstr(path, "narrow") == nullptr)) {
      std::printf("no case took the way '%s'\n", path);
      all = false;
    }
  }
  return all;
}

}  // namespace
}  // namespace fuzz

int main(int count, char** arguments) {
  using namespace sparse_export;
  const int64_t cases = count > 1 ? std::atoll(arguments[1]) : 2000;
  const uint64_t seed = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1;
  const int64_t only = count > 3 ? std::atoll(arguments[3]) : -1;
  Target target;
  try {
    target = detect_target();
  } catch (const std::exception& error) {
    std::printf("skipped: %s\n", error.what());
    return 77;
  }
  fuzz::Tally tally;
  for (int64_t index = only < 0 ? 0 : only; index < (only < 0 ? cases : only + 1); ++index) {
    if (!fuzz::run_one(seed, index, tally)) {
      return 1;
    }
  }
  std::printf("%s: %lld cases, %lld calls, %lld outputs; worst error %.3f of its bound\n ", name_of(target),
              static_cast<long long>(cases), static_cast<long long>(tally.calls), static_cast<long long>(tally.outputs),
              tally.worst);
  for (const auto& [path, calls] : tally.paths) {
    std::printf(" %s %lld", path.c_str(), static_cast<long long>(calls));
  }
  std::printf("\n");
  const bool planned = target != Target::reference;
  return !planned || only >= 0 || cases < 2000 || fuzz::complete(tally, name_of(target)) ? 0 : 1;
}
