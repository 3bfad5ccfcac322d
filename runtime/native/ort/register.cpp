// Entry point that onnxruntime looks up in a custom-op library.
#include <mutex>

#include "api.h"
#include "core/dispatch.h"
#include "op.h"
#include "tables.h"

namespace sparse_export {
namespace {

// Operators and their domain, made once; sessions keep pointers to both, so they are never freed.
OrtCustomOpDomain* make_domain(const OrtApi* api) {
  static auto* const operators = new Operators(api);
  add_all_operators(*operators);
  OrtCustomOpDomain* domain = nullptr;
  check(api, abi::CreateCustomOpDomain::call(api, "sparse_export", &domain));
  for (const Entry& entry : operators->entries()) {
    check(api, abi::CustomOpDomainAdd::call(api, domain, static_cast<const OrtCustomOp*>(entry.op.get())));
  }
  return domain;
}

}  // namespace
}  // namespace sparse_export

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using namespace sparse_export;
  const OrtApi* api = base->GetApi(abi::api_version);
  if (api == nullptr) {
    // Slots 0..2 have not moved since version 1, so even an old runtime gets a readable error.
    const OrtApi* first = base->GetApi(1);
    return first == nullptr ? nullptr
                            : abi::CreateStatus::call(first, int{abi::code_not_implemented},
                                                      "sparse_export needs onnxruntime 1.17 or later");
  }
  return guarded(api, "sparse_export", [&] {
    static std::mutex mutex;
    static OrtCustomOpDomain* domain = nullptr;
    const std::lock_guard<std::mutex> lock(mutex);
    if (domain == nullptr) {
      op_version = base->GetApi(abi::inplace_version) == nullptr ? abi::api_version : abi::inplace_version;
      domain = make_domain(api);
    }
    check(api, abi::AddCustomOpDomain::call(api, options, domain));
  });
}

// Name of the instruction set in use, for whoever reports measurements; empty when the forced one is refused.
extern "C" __attribute__((visibility("default"))) const char* SparseExportTarget() {
  try {
    return sparse_export::name_of(sparse_export::detect_target());
  } catch (...) {
    return "";
  }
}

// What is in this build, as JSON: its targets (which this CPU has), kernels and operators. Empty where memory runs out.
extern "C" __attribute__((visibility("default"))) const char* SparseExportTables() {
  try {
    static const std::string tables = sparse_export::tables_json();
    return tables.c_str();
  } catch (...) {
    return "";
  }
}
