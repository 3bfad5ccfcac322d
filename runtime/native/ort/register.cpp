// Entry points: the one that onnxruntime looks up in a custom-op library, and what programs may ask of it themselves.
//
// A program that knows its model calls, in one thread, SparseExportSelect and then what makes onnxruntime call
// RegisterCustomOps: those options get these operators alone. Others get all.
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "api.h"
#include "core/dispatch.h"
#include "kernels/rows/expand.h"
#include "selection.h"
#include "tables.h"

#define SPARSE_EXPORT_API extern "C" __attribute__((visibility("default")))

namespace {

using namespace sparse_export;

// For the next registration of this thread.
thread_local Selection* selected = nullptr;

// What options get whose program selects nothing: never freed, as they tell nobody when they are.
OrtCustomOpDomain* whole_domain(const OrtApi* api) {
  static OrtCustomOpDomain* whole = nullptr;
  if (whole == nullptr) {
    OrtCustomOpDomain* domain = nullptr;
    check(api, abi::CreateCustomOpDomain::call(api, "sparse_export", &domain));
    for (const OrtCustomOp* op : operators_of(api, ",*,")) {
      check(api, abi::CustomOpDomainAdd::call(api, domain, op));
    }
    whole = domain;
  }
  return whole;
}

}  // namespace

SPARSE_EXPORT_API OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  Selection* const selection = std::exchange(selected, nullptr);
  const OrtApi* api = base->GetApi(abi::api_version);
  if (api == nullptr) {
    // Slots 0..2 have not moved since version 1, so even an old runtime gets a readable error.
    const OrtApi* first = base->GetApi(1);
    return first == nullptr ? nullptr
                            : abi::CreateStatus::call(first, int{abi::code_not_implemented},
                                                      "sparse_export needs onnxruntime 1.17 or later");
  }
  return guarded(api, "sparse_export", [&] {
    const std::lock_guard<std::mutex> lock(registration);
    op_version = base->GetApi(abi::inplace_version) == nullptr ? abi::api_version : abi::inplace_version;
    if (selection != nullptr) {
      selection->enter(api, options);
    } else {
      check(api, abi::AddCustomOpDomain::call(api, options, whole_domain(api)));
    }
  });
}

// Names of operators between commas: a selection for the next registration in this thread. Null where memory runs out.
SPARSE_EXPORT_API void* SparseExportSelect(const char* names) {
  try {
    auto made = std::make_unique<Selection>();
    made->want(names);
    selected = made.release();
    return selected;
  } catch (...) {
    return nullptr;
  }
}

// Adds operators to a selection whose options are there, while no session is being made of them. 0 where that fails.
SPARSE_EXPORT_API int SparseExportExtend(void* selection, const char* names) {
  try {
    const std::lock_guard<std::mutex> lock(registration);
    static_cast<Selection*>(selection)->want(names);
    return 1;
  } catch (...) {
    return 0;
  }
}

// Frees a selection when its options and all sessions of them are gone, or were never made.
SPARSE_EXPORT_API void SparseExportRelease(void* selection) {
  if (selected == selection) {
    selected = nullptr;
  }
  delete static_cast<Selection*>(selection);
}

// A component of a packed weight: element type (ONNX's number) and shape.
struct SparseExportComponent {
  int type;
  size_t rank;
  const int64_t* shape;
  const void* data;
};

// Fills `dense` with the weight that `<prefix>Weight` stands for; 0 where the components break a rule. Who makes a
// model of many weights dense before it is loaded spares the runtime hundreds of nodes for each.
SPARSE_EXPORT_API int SparseExportExpand(const char* prefix, const SparseExportComponent* components, size_t count,
                                         const int64_t* shape, size_t rank, float* dense) {
  try {
    std::vector<Tensor> tensors;
    for (const SparseExportComponent* one = components; one < components + count; ++one) {
      const Shape dims(one->shape, one->shape + one->rank);
      tensors.push_back({one->type, dims, one->data, checked_count(dims)});
    }
    rows::expand(prefix, std::move(tensors), Shape(shape, shape + rank), dense);
    return 1;
  } catch (...) {
    return 0;
  }
}

// Name of the instruction set in use, for whoever reports measurements; empty when the forced one is refused.
SPARSE_EXPORT_API const char* SparseExportTarget() {
  try {
    return sparse_export::name_of(sparse_export::detect_target());
  } catch (...) {
    return "";
  }
}

// What is in this build, as JSON: its targets (which this CPU has), kernels and operators. Empty where memory runs out.
SPARSE_EXPORT_API const char* SparseExportTables() {
  try {
    static const std::string tables = sparse_export::tables_json();
    return tables.c_str();
  } catch (...) {
    return "";
  }
}
