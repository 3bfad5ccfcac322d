// SparseConv* and SparseMatMul*: layers whose weights are CSR with narrow gaps; and the operators of every format that
// is read as rows (kernels/rows), whose weights become CSR or what runs faster when the session is created.
#include "kernels/f32_csr/call.h"
#include "kernels/rows/packed.h"
#include "layer.h"
#include "ort/threads.h"

namespace sparse_export::f32_csr {
namespace {

struct Csr {
  static constexpr std::array components = {"indptr", "gaps", "values"};
  static constexpr bool constant_scale = false;
  using Weights = f32_csr::Weights;

  static Weights read(const std::vector<Tensor>& components, const ConvGeometry& geometry) {
    return read_weights(components, geometry.outputs, geometry.columns());
  }
  static void prepare() { kernels(); }
  void run(const Pool& pool, const LayerCall& call, const Weights& weights) const {
    f32_csr::run(pool, threads.get(pool), {call, weights});
  }

  ThreadCount threads;
};

#define SPARSE_EXPORT_SOURCE(format, prefix, ...)                                                           \
  struct format {                                                                                           \
    static constexpr auto components = std::to_array<const char*>({__VA_ARGS__});                           \
    static constexpr bool constant_scale = false, sized_by_scale = true;                                    \
    using Weights = rows::Packed;                                                                           \
                                                                                                            \
    static Weights read(const std::vector<Tensor>& components, const ConvGeometry& geometry, bool matrix) { \
      return Weights(#format, rows::read_##format, components, geometry, matrix);                           \
    }                                                                                                       \
    static void prepare() { Weights::prepare(); }                                                           \
    void run(const Pool& pool, const LayerCall& call, const Weights& weights) const {                       \
      weights.run(pool, threads.get(pool), call);                                                           \
    }                                                                                                       \
                                                                                                            \
    ThreadCount threads;                                                                                    \
  };
#include "kernels/rows/sources.def"
#undef SPARSE_EXPORT_SOURCE

}  // namespace

void add_operators(Operators& operators) {
  add_float_layers<Csr>(operators, "f32_csr", "Sparse");
#define SPARSE_EXPORT_SOURCE(format, prefix, ...) add_float_layers<format>(operators, "f32_csr", prefix);
#include "kernels/rows/sources.def"
#undef SPARSE_EXPORT_SOURCE
}

}  // namespace sparse_export::f32_csr
