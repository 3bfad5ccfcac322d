#include "quantized_inputs.h"

#include <cmath>
#include <limits>

namespace fuzz {
namespace {

OrtValue random_bytes(Random& random, int type, std::vector<int64_t> shape) {
  std::vector<uint8_t> bytes(static_cast<size_t>(sparse_export::checked_count(shape)));
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  return OrtValue(type, std::move(shape), bytes.data(), bytes.size());
}

float random_scale(Random& random) {
  if (chance(random, 1)) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    return pick(random, {0.0F, -0.5F, 1e-45F, 3e38F, infinity, std::nanf("")});
  }
  return std::ldexp(static_cast<float>(uniform(random, 1, 255)), static_cast<int>(uniform(random, -14, -2)));
}

OrtValue scales(Random& random, std::vector<int64_t> shape) {
  std::vector<float> data(static_cast<size_t>(sparse_export::checked_count(shape)));
  for (float& scale : data) {
    scale = random_scale(random);
  }
  return OrtValue(1, std::move(shape), data.data(), data.size() * sizeof(float));
}

// A scale and a zero point of that type, scalars or of one element.
void add_quantum(Random& random, int type, std::vector<OrtValue>& inputs) {
  const std::vector<int64_t> shape(chance(random, 50) ? 0 : 1, chance(random, 1) ? 2 : 1);
  inputs.push_back(scales(random, shape));
  inputs.push_back(random_bytes(random, type, shape));
}

int eight_bits(Random& random) { return chance(random, 50) ? 2 : 3; }

}  // namespace

bool is_quantized(const std::string& name) {
  const auto has = [&](const char* layer) { return name.find(layer) != std::string::npos; };
  return has("QConv") || has("QMatMul") || has("FConv") || has("FMatMul");
}

void add_quantized_x(Random& random, std::vector<int64_t> shape, std::vector<OrtValue>& inputs) {
  const int type = eight_bits(random);
  inputs.push_back(random_bytes(random, type, std::move(shape)));
  add_quantum(random, type, inputs);
}

void add_quantized_rest(Random& random, const std::string& name, int64_t rows, const std::vector<int64_t>& residual,
                        std::vector<OrtValue>& inputs) {
  for (size_t i = 3; i < inputs.size(); ++i) {
    const bool is_float = inputs[i].type == 1 || inputs[i].type == 10 || inputs[i].type == 16;
    if (is_float && !chance(random, 2)) {
      inputs[i] = random_bytes(random, 3, inputs[i].shape);
    }
  }
  inputs.push_back(scales(random, {rows}));
  std::vector<int32_t> bias(static_cast<size_t>(rows));
  for (int32_t& value : bias) {
    value = static_cast<int32_t>(chance(random, 10) ? random() : random() % 20000);
  }
  inputs.emplace_back(6, std::vector<int64_t>{rows}, bias.data(), bias.size() * sizeof(int32_t));
  if (name.find("Float") != std::string::npos) {
    return;
  }
  add_quantum(random, chance(random, 99) ? 2 : 3, inputs);
  if (name.find("Add") != std::string::npos) {
    const int type = eight_bits(random);
    inputs.push_back(random_bytes(random, type, residual));
    add_quantum(random, type, inputs);
    add_quantum(random, 2, inputs);
  }
}

}  // namespace fuzz
