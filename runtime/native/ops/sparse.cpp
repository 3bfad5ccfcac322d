// SparseConv* and SparseMatMul*: layers whose weights are CSR with narrow gaps.
#include "../kernels/sparse.h"
#include "../op.h"

namespace sparse_export {
namespace {

class SparseConv {
 public:
  static constexpr std::array<const char*, 3> components = {"indptr", "gaps", "values"};

  SparseConv(const Variant& variant, const KernelInfo& info)
      : geometry_(read_geometry(info)),
        weights_(read_csr(info, 1, geometry_.outputs, geometry_.columns())),
        bounds_(read_bounds(variant, info)),
        layout_(input_layout<SparseConv>(variant.residual)),
        residual_(variant.residual) {
    sparse_kernels();  // an unusable SPARSE_EXPORT_TARGET fails here, when the session is created
  }

  void compute(const Context& context) const {
    const Tensor x = context.input(0, "X");
    require(x.type == abi::element_float, "input 'X' must be float32");
    const ConvSize size = conv_size(geometry_, x.shape);
    const Shape shape = conv_output(geometry_, size);
    const float* scale = context.floats(layout_.scale, "scale", geometry_.outputs);
    const float* bias = context.floats(layout_.bias, "bias", geometry_.outputs);
    const float* residual = residual_ ? context.floats(layout_.residual, "Z", shape) : nullptr;
    run_sparse(context, threads_, {weights_, geometry_, size, x.as<float>(), scale, bias, residual, bounds_,
                         context.output(0, shape)});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) { return infer_conv(context, output); }

 private:
  ConvGeometry geometry_;
  CsrWeights weights_;
  Bounds bounds_;
  InputLayout layout_;
  ThreadCount threads_;
  bool residual_;
};

class SparseMatMul {
 public:
  static constexpr std::array<const char*, 3> components = {"indptr", "gaps", "values"};

  SparseMatMul(const Variant& variant, const KernelInfo& info)
      : weights_(read_weights(info)),
        bounds_(read_bounds(variant, info)),
        layout_(input_layout<SparseMatMul>(false)) {
    geometry_.outputs = weights_.rows;
    geometry_.channels = weights_.columns;
    sparse_kernels();
  }

  void compute(const Context& context) const {
    const Tensor x = context.input(0, "X");
    require(x.type == abi::element_float, "input 'X' must be float32");
    const auto [size, shape] = matrix_size(x.shape, weights_.columns, weights_.rows);
    const float* scale = context.floats(layout_.scale, "scale", weights_.rows);
    const float* bias = context.floats(layout_.bias, "bias", weights_.rows);
    run_sparse(context, threads_, {weights_, geometry_, size, x.as<float>(), scale, bias, nullptr, bounds_,
                         context.output(0, shape)});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) { return infer_matmul(context, output); }

 private:
  static CsrWeights read_weights(const KernelInfo& info) {
    const auto [rows, columns] = read_matrix_shape(info);
    return read_csr(info, 1, rows, columns);
  }

  CsrWeights weights_;
  ConvGeometry geometry_;
  Bounds bounds_;
  InputLayout layout_;
  ThreadCount threads_;
};

}  // namespace

void add_sparse_operators(Operators& operators, const OrtApi* api) {
  add_operators<SparseConv>(operators, api, "SparseConv", true);
  add_operators<SparseMatMul>(operators, api, "SparseMatMul", false);
}

}  // namespace sparse_export
