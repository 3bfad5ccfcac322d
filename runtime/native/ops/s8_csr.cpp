// SparseQConv*, SparseQMatMul* and their siblings of every row source: int8 weights, 8-bit activations.
//
//   X, x_scale, x_zero, the components, w_scale [K], bias int32 [K]
//     then, but for the suffix Float:   y_scale, y_zero
//     then, for the suffix Add:         Z, z_scale, z_zero, s_scale, s_zero   (of the residual, and of the result)
//
// X and Z have the types of their zero points, uint8 or int8. Y is uint8, as its zero point (s_zero or y_zero), or
// float32: onnxruntime before 1.21 lets an operator's output have one type only. All but X and Z are initializers: what
// they say is checked when the session is created, and what follows from it is computed.
//
// FConv*, FMatMul* are the same computed in floats (kernels/s8_csr/in_floats.h), to the same bits.
#include <cmath>
#include <optional>

#include "kernels/rows/rows.h"
#include "kernels/s8_csr/in_floats.h"
#include "layer.h"
#include "ort/threads.h"

namespace sparse_export::s8_csr {
namespace {

enum class Output { bytes, sum, floats };

// Rows whose memory is the model's.
struct Csr {
  static constexpr std::array components = {"indptr", "gaps", "values"};

  static rows::Rows read(const std::vector<Tensor>& components, const ConvGeometry& geometry) {
    rows::Rows rows;
    rows.weights = f32_csr::read_weights(components, geometry.outputs, geometry.columns());
    return rows;
  }
};

// Weights as groups of channels, or in floats as rows, and the memory of the rows where that is not the model's.
struct Held {
  rows::Rows rows;
  Weights weights;
  RowSums sums;
  bool in_floats;

  Held(rows::Rows read, const ConvGeometry& geometry, bool floats) : rows(std::move(read)), in_floats(floats) {
    if (in_floats) {
      sums = row_sums(rows.weights);
      return;
    }
    weights = read_weights(rows.weights, geometry);
    sums.all = std::move(weights.sums);
    // Only the reference reads rows; for all others the groups are enough.
    if (rows.gaps != nullptr && detect_target() != Target::reference) {
      weights.csr = {};
      rows = {};
    }
  }
};

#define SPARSE_EXPORT_SOURCE(format, prefix, ...)                                              \
  struct format {                                                                              \
    static constexpr auto components = std::to_array<const char*>({__VA_ARGS__});              \
                                                                                               \
    static rows::Rows read(const std::vector<Tensor>& components, const ConvGeometry& geometry) { \
      return rows::read_##format(components, rows::extent_of(geometry));                       \
    }                                                                                          \
  };
#include "kernels/rows/sources.def"
#undef SPARSE_EXPORT_SOURCE

std::string input_named(const char* name) { return std::string("input '") + name + "' "; }

float read_scale(const KernelInfo& info, size_t index, const char* name) {
  const Tensor scale = info.constant(index, name);
  if (scale.type != element_float || scale.count != 1 || !std::isfinite(scale.as<float>()[0]) ||
      !(scale.as<float>()[0] > 0)) {
    throw Error(input_named(name) + "must be one positive, finite float32");
  }
  return scale.as<float>()[0];
}

// The scale at `index` and the zero point behind it.
Quantum read_quantum(const KernelInfo& info, size_t index, const char* scale, const char* zero) {
  Quantum quantum;
  quantum.scale = read_scale(info, index, scale);
  const Tensor tensor = info.constant(index + 1, zero);
  if ((tensor.type != element_uint8 && tensor.type != element_int8) || tensor.count != 1) {
    throw Error(input_named(zero) + "must be one uint8 or int8");
  }
  quantum.is_signed = tensor.type == element_int8;
  quantum.zero = quantum.is_signed ? int32_t{tensor.as<int8_t>()[0]} : int32_t{tensor.as<uint8_t>()[0]};
  return quantum;
}

Quantum read_result(const KernelInfo& info, size_t index, const char* scale, const char* zero) {
  const Quantum quantum = read_quantum(info, index, scale, zero);
  if (quantum.is_signed) {
    throw Error(input_named(zero) + "must be uint8");
  }
  return quantum;
}

constexpr int type_of(bool is_signed) { return is_signed ? element_int8 : element_uint8; }

void require_type(const Tensor& tensor, const char* name, bool is_signed) {
  if (tensor.type != type_of(is_signed)) {
    throw Error(input_named(name) + "must be " + (is_signed ? "int8" : "uint8") + ", as its zero point");
  }
}

// Ratios of scales stay so small that sums of two products are finite.
float ratio_of(float a, float b) {
  const float ratio = a / b;
  require(ratio < 0x1p100F, "the scales are too far apart");
  return ratio;
}

template <class Family, Twin twin, Output output>
class QuantizedLayer {
  static constexpr size_t packed_end = 3 + Family::components.size();
  static constexpr size_t w_scale = packed_end, bias = w_scale + 1, y_scale = bias + 1, residual = y_scale + 2,
                          z_scale = residual + 1, s_scale = z_scale + 2;

 public:
  static constexpr auto components = Family::components;
  static constexpr InputLayout layout = {w_scale, bias, residual,
                                         output == Output::floats  ? y_scale
                                         : output == Output::bytes ? residual
                                                                   : s_scale + 2};
  static constexpr int x_type = element_any;
  static constexpr int y_type = output == Output::floats ? element_float : element_uint8;

  static int input_type(size_t index) {
    const bool scale = index == 1 || index == w_scale || index == y_scale || index == z_scale || index == s_scale;
    return scale ? element_float : index == bias ? element_int32 : element_any;
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& shape) {
    std::vector<Dimension> input;
    return context.input_shape(0, input) && infer_layer<twin>(context, input, shape);
  }

  QuantizedLayer(const Variant& variant, const KernelInfo& info)
      : geometry_(read_layer<twin>(info)), x_(read_quantum(info, 1, "x_scale", "x_zero")) {
    kernels();  // an unusable SPARSE_EXPORT_TARGET fails here, when the session is created
    // They also say how many rows there are: nothing larger than the file is allocated.
    const float* scales = read_vector(info, w_scale, "w_scale", geometry_.outputs, true);
    const Tensor offsets = info.constant(bias, "bias");
    require(offsets.type == element_int32 && offsets.shape == Shape{geometry_.outputs},
            "input 'bias' must be int32 with one entry for each output");
    std::vector<Tensor> parts;
    for (size_t i = 0; i < components.size(); ++i) {
      parts.push_back(info.constant(3 + i, components[i]));
    }
    held_.emplace(Family::read(parts, geometry_), geometry_, variant.in_floats);
    read_output(info);
    set_rows(scales, offsets.as<int32_t>());
  }

  void compute(const Context& context) const {
    const Tensor x = context.input(0, "X");
    require_type(x, "X", x_.is_signed);
    const auto [size, shape] = layer_shape<twin>(geometry_, x.shape);
    const uint8_t* z = nullptr;
    if constexpr (output == Output::sum) {
      const Tensor tensor = context.input(residual, "Z");
      require_type(tensor, "Z", out_.signed_z);
      require(tensor.shape == shape, "input 'Z' must have the output's shape");
      z = tensor.as<uint8_t>();
    }
    Requantization out = out_;
    out.multiplier = multipliers_.data();
    out.bias = biases_.data();
    const Call call{geometry_,
                    size,
                    twin == Twin::matmul,
                    x.as<uint8_t>(),
                    flip(),
                    zero(),
                    held_->weights,
                    out,
                    z,
                    context.output<void>(0, shape)};
    if (held_->in_floats) {
      run_in_floats(context, threads_.get(context), call, held_->rows.weights, wide_);
    } else {
      run(context, threads_.get(context), call);
    }
  }

 private:
  // X counted from 0.
  uint8_t flip() const { return x_.is_signed ? 0x80 : 0; }
  uint8_t zero() const { return static_cast<uint8_t>(x_.zero + (x_.is_signed ? 128 : 0)); }

  void read_output(const KernelInfo& info) {
    out_.floats = output == Output::floats;
    if constexpr (output != Output::floats) {
      const Quantum y = read_result(info, y_scale, "y_scale", "y_zero");
      scale_ = y.scale;
      out_.low = y.low();
      out_.high = y.high();
      out_.zero = y.zero;
    }
    if constexpr (output == Output::sum) {
      const Quantum z = read_quantum(info, z_scale, "z_scale", "z_zero");
      const Quantum s = read_result(info, s_scale, "s_scale", "s_zero");
      out_.residual = true;
      out_.ratio = ratio_of(scale_, s.scale);
      out_.ratio_z = ratio_of(z.scale, s.scale);
      out_.zero_z = z.zero;
      out_.signed_z = z.is_signed;
      out_.low_z = s.low();
      out_.high_z = s.high();
      out_.zero = s.zero;
    }
  }

  void set_rows(const float* scales, const int32_t* offsets) {
    for (int64_t row = 0; row < geometry_.outputs; ++row) {
      require(scales[row] > 0, "input 'w_scale' must be positive");
      const float product = x_.scale * scales[row];
      const float multiplier = output == Output::floats ? product : product / scale_;
      require(std::isfinite(multiplier), "the scales are too far apart");
      multipliers_.push_back(multiplier);
      const auto sum = static_cast<uint32_t>(held_->sums.all[static_cast<size_t>(row)]);
      biases_.push_back(static_cast<int32_t>(static_cast<uint32_t>(offsets[row]) - uint32_t{zero()} * sum));
    }
    wide_ = held_->in_floats && is_wide(held_->sums, biases_);
    held_->sums = {};  // they are in the biases
  }

  ConvGeometry geometry_;
  Quantum x_;
  float scale_ = 1;  // of Y
  std::optional<Held> held_;
  bool wide_ = false;
  Requantization out_{};
  std::vector<float> multipliers_;
  std::vector<int32_t> biases_;
  ThreadCount threads_;
};

// Formats whose values are never int8.
template <class Family>
constexpr bool only_floats = std::is_same_v<Family, split>;

template <class Family>
void add_layers(Operators& operators, const std::string& prefix) {
  if constexpr (only_floats<Family>) {
    return;
  }
  for (const bool in_floats : {false, true}) {
    const Variant bytes{"", false, {}, nullptr, nullptr, in_floats}, sum{"Add", true, {}, nullptr, nullptr, in_floats},
        floats{"Float", false, {}, nullptr, nullptr, in_floats};
    const char* conv = in_floats ? "FConv" : "QConv";
    const char* product = in_floats ? "FMatMul" : "QMatMul";
    operators.add<QuantizedLayer<Family, Twin::conv, Output::bytes>>("s8_csr", prefix, conv, bytes);
    operators.add<QuantizedLayer<Family, Twin::conv, Output::sum>>("s8_csr", prefix, conv, sum);
    operators.add<QuantizedLayer<Family, Twin::conv, Output::floats>>("s8_csr", prefix, conv, floats);
    operators.add<QuantizedLayer<Family, Twin::matmul, Output::bytes>>("s8_csr", prefix, product, bytes);
    operators.add<QuantizedLayer<Family, Twin::matmul, Output::floats>>("s8_csr", prefix, product, floats);
  }
}

}  // namespace

void add_operators(Operators& operators) {
  add_layers<Csr>(operators, "Sparse");
#define SPARSE_EXPORT_SOURCE(format, prefix, ...) add_layers<format>(operators, prefix);
#include "kernels/rows/sources.def"
#undef SPARSE_EXPORT_SOURCE
}

}  // namespace sparse_export::s8_csr
