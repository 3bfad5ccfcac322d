// The operators of weights under a mask are those of kernels/rows: ops/f32_csr.cpp has them, with every form.
#include "ort/op.h"

namespace sparse_export::f32_masked {

void add_operators(Operators&) {}

}  // namespace sparse_export::f32_masked
