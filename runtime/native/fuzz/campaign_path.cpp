// Which way the sparse kernels take for a call: the campaign counts them, so that none is left out unseen.
#include "../dispatch.h"
#include "../kernels/sparse.h"
#include "campaign_layer.h"

namespace campaign {
namespace {

using namespace sparse_export;

Tensor view(const OrtValue& value) {
  return {value.info.type, value.info.shape, value.data, value.info.shape[0]};
}

const char* name_of(const SparsePlan& plan) {
  switch (plan.layout) {
    case SparseLayout::vector:
      return "vector";
    case SparseLayout::direct:
      return "direct";
    case SparseLayout::pixels:
      return plan.narrow ? "narrow" : "pixels";
    case SparseLayout::strips:
      return "strips";
    case SparseLayout::plain:
      return "plain";
    default:
      return "another";
  }
}

ConvGeometry geometry_of(const Layer& layer) {
  ConvGeometry geometry;
  geometry.outputs = layer.rows;
  geometry.channels = layer.channels * layer.groups;
  geometry.groups = layer.groups;
  geometry.kernel = layer.kernel;
  geometry.strides = layer.strides;
  geometry.dilations = layer.dilations;
  geometry.begin = layer.begin;
  geometry.end = layer.end;
  return geometry;
}

}  // namespace

std::string path_of(const Case& made, const Input& input, const void* x) {
  const Layer& layer = made.layer;
  if (layer.family != Family::sparse || detect_target() == Target::reference || input.batch == 0) {
    return layer.family == Family::xnor ? "xnor" : layer.family == Family::binary ? "binary" : "no plan";
  }
  const CsrWeights weights{layer.rows, layer.row_columns(), layer.first.back(),
                           view(made.packed[0]), view(made.packed[1]), view(made.packed[2])};
  const ConvGeometry geometry = geometry_of(layer);
  const ConvSize size{input.batch, input.size, input.output};
  const SparseCall call{weights, geometry, size, static_cast<const float*>(x), layer.scale.data(), layer.bias.data(),
                        nullptr, {layer.low, layer.high}, nullptr};
  SparsePlan plan;
  sparse_kernels().plan(call, input.threads, plan);
  return name_of(plan);
}

}  // namespace campaign
