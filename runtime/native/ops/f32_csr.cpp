// SparseConv* and SparseMatMul*: layers whose weights are CSR with narrow gaps.
#include "kernels/f32_csr/call.h"
#include "layer.h"
#include "ort/threads.h"

namespace sparse_export::f32_csr {
namespace {

struct Csr {
  static constexpr std::array components = {"indptr", "gaps", "values"};
  static constexpr bool constant_scale = false;
  using Weights = f32_csr::Weights;

  static Weights read(const std::vector<Tensor>& components, int64_t rows, int64_t columns) {
    return read_weights(components, rows, columns);
  }
  static void prepare() { kernels(); }
  void run(const Pool& pool, const LayerCall& call, const Weights& weights) const {
    f32_csr::run(pool, threads.get(pool), {call, weights});
  }

  ThreadCount threads;
};

}  // namespace

void add_operators(Operators& operators) { add_float_layers<Csr>(operators, "f32_csr", "Sparse"); }

}  // namespace sparse_export::f32_csr
