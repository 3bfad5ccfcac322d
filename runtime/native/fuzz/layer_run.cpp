// A random layer through the kernels of the current target, and which way they take: the program counts the ways, so
// that none is left out unseen.
#include "kernels/bit_bit/call.h"
#include "kernels/rows/packed.h"
#include "layer.h"
#include "test_pool.h"

namespace fuzz {

using namespace sparse_export;

const char* name_of(const f32_csr::Plan& plan) {
  using f32_csr::Layout;
  switch (plan.layout) {
    case Layout::vector:
      return "vector";
    case Layout::direct:
      return "direct";
    case Layout::pixels:
      return plan.narrow ? "narrow" : "pixels";
    case Layout::strips:
      return "strips";
    case Layout::plain:
      return "plain";
    default:
      return "another";
  }
}

namespace {

ConvGeometry geometry_of(const Layer& layer) {
  if (!layer.conv) {
    return matrix_geometry({layer.rows, layer.channels});
  }
  ConvAttributes attributes{{layer.rows, layer.channels}, {}, {}, {}, layer.groups};
  for (size_t axis = layer.rank == 1 ? 1 : 0; axis < 2; ++axis) {
    attributes.shape.push_back(layer.kernel[axis]);
    attributes.strides.push_back(layer.strides[axis]);
    attributes.dilations.push_back(layer.dilations[axis]);
    attributes.pads.push_back(layer.begin[axis]);
  }
  for (size_t axis = layer.rank == 1 ? 1 : 0; axis < 2; ++axis) {
    attributes.pads.push_back(layer.end[axis]);
  }
  return conv_geometry(attributes);
}

rows::Packed::Read reader_of(const std::string& format) {
#define SPARSE_EXPORT_SOURCE(name, prefix, ...) \
  if (format == #name) {                        \
    return rows::read_##name;                   \
  }
#include "kernels/rows/sources.def"
#undef SPARSE_EXPORT_SOURCE
  throw Error("no row source " + format);
}

// What the operators do, of what traits.h says.
template <class Traits>
void run_kernel(const Pool& pool, size_t threads, const LayerCall& call, const std::vector<Tensor>& components) {
  const auto weights = Traits::read(components, call.geometry);
  if constexpr (requires { Traits::run(pool, threads, call, weights); }) {
    Traits::run(pool, threads, call, weights);
  } else {
    Traits::run(pool, call, weights);
  }
}

std::string way_of_csr(size_t threads, const LayerCall& layer, const std::vector<Tensor>& components) {
  const f32_csr::Weights weights = f32_csr::Traits::read(components, layer.geometry);
  const f32_csr::Call call{layer, weights};
  if (detect_target() == Target::reference || layer.size.batch == 0) {
    return "no plan";
  }
  f32_csr::Plan plan;
  f32_csr::kernels().plan(call, threads, plan);
  return name_of(plan);
}

}  // namespace

void run_case(const Case& made, const Input& input, const Buffer& x, const float* z, Buffer& y, std::string& path) {
  const Layer& layer = made.layer;
  std::vector<Tensor> components;
  for (const Buffer& packed : made.packed) {
    components.push_back(packed.tensor());
  }
  const ConvGeometry geometry = geometry_of(layer);
  const Shape shape = shape_of(layer, input, layer.channels * layer.groups, input.size);
  const ConvSize size = layer.conv ? conv_size(geometry, shape) : matrix_size(geometry, shape);
  const Shape output = layer.conv ? conv_output(geometry, size) : matrix_output(geometry, shape);
  require(output == shape_of(layer, input, layer.rows, input.output), "the output has another shape");
  const LayerCall call{geometry,
                       size,
                       !layer.conv,
                       layer.packed_x ? nullptr : static_cast<const float*>(x.data),
                       {layer.scale.data(), layer.bias.data(), z, layer.activation},
                       layer.packed_y ? nullptr : static_cast<float*>(y.data)};
  const TestPool pool(input.threads);
  path = family_names[static_cast<size_t>(layer.family)];
#define SPARSE_EXPORT_RUN(kernel, prefix)                              \
  if (layer.family == Family::kernel) {                                \
    run_kernel<kernel::Traits>(pool, input.threads, call, components); \
  }
  SPARSE_EXPORT_PREFIXES(SPARSE_EXPORT_RUN)
#undef SPARSE_EXPORT_RUN
  if (layer.family == Family::f32_csr) {
    path = way_of_csr(input.threads, call, components);
  }
  if (layer.family == Family::s8_csr) {
    return run_quantized(pool, layer, input, geometry, size, components, y, path);
  }
  if (layer.family == Family::rows) {
    const rows::Packed packed(layer.format.c_str(), reader_of(layer.format), components, geometry, !layer.conv);
    packed.run(pool, input.threads, call);
    constexpr const char* forms[] = {"csr", "masked", "codes"};
    path = layer.format + ":" + forms[static_cast<int>(packed.form_for(size.batch * size.output[0] * size.output[1]))];
    return;
  }
  if (layer.family != Family::bit_bit) {
    return;
  }
  const bit::Weights weights = bit::read_weights(components, geometry.outputs, geometry.columns());
  std::vector<bit_bit::SignRule> rules;
  if (layer.packed_y) {
    rules = bit_bit::sign_rules(weights, layer.scale.data(), layer.bias.data());
  }
  bit_bit::run(pool,
               {call, weights, layer.packed_x ? static_cast<const uint8_t*>(x.data) : nullptr,
                layer.packed_y ? static_cast<uint8_t*>(y.data) : nullptr, layer.packed_y ? rules.data() : nullptr});
}

}  // namespace fuzz
