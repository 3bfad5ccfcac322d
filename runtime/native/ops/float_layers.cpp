// The operators of float activations: of every kernel that has a prefix in kernels/table.cmake, and of every format
// that is read as rows (kernels/rows), whose weights become CSR or what runs faster when the session is created.
#include "kernels/rows/packed.h"
#include "layer.h"
#include "prefixes.h"

namespace sparse_export {
namespace {

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
    static void run(const Pool& pool, size_t threads, const LayerCall& call, const Weights& weights) {      \
      weights.run(pool, threads, call);                                                                     \
    }                                                                                                       \
  };
#include "kernels/rows/sources.def"
#undef SPARSE_EXPORT_SOURCE

// The twins of a family; only convolutions have residuals.
template <class Family>
void add(Operators& operators, const char* kernel, const char* prefix) {
  operators.add_variants<FloatLayer<Family, Twin::conv>>(kernel, prefix, name_of(Twin::conv), true);
  operators.add_variants<FloatLayer<Family, Twin::matmul>>(kernel, prefix, name_of(Twin::matmul), false);
}

}  // namespace

void add_float_layers(Operators& operators) {
#define SPARSE_EXPORT_ADD(kernel, prefix) add<kernel::Traits>(operators, #kernel, prefix);
  SPARSE_EXPORT_PREFIXES(SPARSE_EXPORT_ADD)
#undef SPARSE_EXPORT_ADD
#define SPARSE_EXPORT_SOURCE(format, prefix, ...) add<format>(operators, "f32_csr", prefix);
#include "kernels/rows/sources.def"
#undef SPARSE_EXPORT_SOURCE
}

}  // namespace sparse_export
