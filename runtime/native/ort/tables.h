// The tables that the build was made of, for tests and for Python: nothing lists targets or operators a second time.
#pragma once

#include <string>

namespace sparse_export {

// {"targets": [{"name", "supported"}], "kernels": [{"name", "targets"}],
//  "operators": [{"name", "kernel", "prefix", "layer", "suffix", "components", "x", "y"}]}
// Targets in ascending order; "x" and "y" are ONNX element types.
std::string tables_json();

}  // namespace sparse_export
