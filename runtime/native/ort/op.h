// From a kernel class to the operators that onnxruntime sees.
//
// A kernel class `K` has
//   static constexpr std::array<const char*, n> components;  // names of its packed inputs, between X and scale
//   K(const Variant&, const KernelInfo&);                    // validates everything, once per session; throws Error
//   void compute(const Context&) const;                      // may run in several threads at once
//   static bool infer(const ShapeContext&, std::vector<Dimension>& output);   // false: not known
//   static constexpr int x_type, y_type;                     // element types of X and Y; without them float
// (without `components` it has X and one packed input, but neither scale nor bias)
// A class whose inputs stand in another order, with other types, says so itself:
//   static constexpr InputLayout layout;
//   static int input_type(size_t index);                     // element_any: several are allowed
// and `Operators::add_variants<K>` makes one operator of it for each activation, with and without a residual.
#pragma once

#include <array>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/epilogue.h"
#include "operators.h"
#include "read.h"

namespace sparse_export {

// Position of scale, bias and the residual: after X and the packed components.
struct InputLayout {
  size_t scale, bias, residual, count;
};

template <class Kernel>
constexpr InputLayout input_layout(bool residual) {
  if constexpr (requires { Kernel::layout; }) {
    return Kernel::layout;
  } else if constexpr (requires { Kernel::components; }) {
    const size_t packed = 1 + Kernel::components.size();
    return {packed, packed + 1, packed + 2, packed + 2 + (residual ? 1 : 0)};
  } else {
    return {2, 2, 2, 2};  // X and one packed input: there is nothing to scale
  }
}

inline void require_inputs(const KernelInfo& info, const InputLayout& layout) {
  require(info.input_count() == layout.count, "wrong number of inputs");
}

// What operators call themselves: the runtime refuses one newer than itself. Set by registration.
inline uint32_t op_version = abi::api_version;

template <class Kernel>
constexpr int x_type() {
  if constexpr (requires { Kernel::x_type; }) {
    return Kernel::x_type;
  } else {
    return element_float;
  }
}

template <class Kernel>
constexpr int y_type() {
  if constexpr (requires { Kernel::y_type; }) {
    return Kernel::y_type;
  } else {
    return element_float;
  }
}

template <class Kernel>
class Operator : public OrtCustomOp {
 public:
  Operator(std::string name, const Variant& variant) : OrtCustomOp{}, name_(std::move(name)), variant_(variant) {
    version = op_version;
    GetName = [](const OrtCustomOp* op) { return self(op).name_.c_str(); };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    GetInputTypeCount = [](const OrtCustomOp* op) { return self(op).layout().count; };
    GetInputType = [](const OrtCustomOp* op, size_t index) -> int {
      if constexpr (requires { Kernel::input_type(index); }) {
        return Kernel::input_type(index);
      }
      const bool packed = index >= 1 && index < self(op).layout().scale;
      return index == 0 ? x_type<Kernel>() : packed ? element_any : element_float;
    };
    GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
    GetOutputType = [](const OrtCustomOp*, size_t) -> int { return y_type<Kernel>(); };
    GetInputCharacteristic = zero_at;
    GetOutputCharacteristic = zero_at;
    GetInputMemoryType = zero_at;
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicInputHomogeneity = zero;
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicOutputHomogeneity = zero;
    CreateKernelV2 = create;
    KernelComputeV2 = compute;
    KernelDestroy = [](void* kernel) { delete static_cast<Instance*>(kernel); };
    InferOutputShapeFn = infer;
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return std::numeric_limits<int>::max(); };
    if (variant.residual) {
      // Kernels read every element of the residual before they write the output's element in the same place.
      GetMayInplace = [](int** inputs, int** outputs) {
        *inputs = new int(static_cast<int>(input_layout<Kernel>(true).residual));
        *outputs = new int(0);
        return size_t{1};
      };
      ReleaseMayInplace = [](int* inputs, int* outputs) {
        delete inputs;
        delete outputs;
      };
    }
  }

 private:
  struct Instance {
    const Operator& op;
    const OrtApi* api;
    Kernel kernel;
  };

  static const Operator& self(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }
  InputLayout layout() const { return input_layout<Kernel>(variant_.residual); }
  static int zero(const OrtCustomOp*) { return 0; }
  static int zero_at(const OrtCustomOp*, size_t) { return 0; }

  static OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
    *kernel = nullptr;
    return guarded(api, self(op).name_.c_str(), [&] {
      const KernelInfo view(api, info);
      require_inputs(view, self(op).layout());
      *kernel = new Instance{self(op), api, Kernel(self(op).variant_, view)};
    });
  }

  static OrtStatus* compute(void* kernel, OrtKernelContext* context) {
    const auto& instance = *static_cast<const Instance*>(kernel);
    return guarded(instance.api, instance.op.name_.c_str(),
                   [&] { instance.kernel.compute(Context(instance.api, context)); });
  }

  // Inference only helps planning: what it cannot tell it leaves open, and kernel creation reports what is wrong.
  static OrtStatus* infer(const OrtCustomOp* op, OrtShapeInferContext* context) {
    const OrtApi* api = api_of_inference;
    if (api != nullptr) {
      OrtStatus* status = guarded(api, self(op).name_.c_str(), [&] {
        const ShapeContext view(api, context);
        std::vector<Dimension> output;
        if (Kernel::infer(view, output)) {
          view.set_output(output, y_type<Kernel>());
        }
      });
      if (status != nullptr) {
        abi::ReleaseStatus::call(api, status);
      }
    }
    return nullptr;
  }

  std::string name_;
  Variant variant_;

 public:
  // The inference callback gets no api table; registration sets it (the table lives as long as the process).
  static inline const OrtApi* api_of_inference = nullptr;
};

// Operators live as long as the library: onnxruntime keeps pointers to them.
// What `SparseExportTables` tells of each is beside it.
struct Entry {
  std::unique_ptr<OrtCustomOp, void (*)(OrtCustomOp*)> op;
  std::string name, kernel, prefix, layer, suffix;  // kernel: the folder; layer: Conv, MatMul or MaxPool
  std::vector<std::string> components;
};

template <class Kernel>
std::vector<std::string> component_names() {
  if constexpr (requires { Kernel::components; }) {
    return {Kernel::components.begin(), Kernel::components.end()};
  } else {
    return {};
  }
}

class Operators {
 public:
  using Wanted = bool (*)(const void* context, const std::string& name);

  // Without `wanted` every operator.
  explicit Operators(const OrtApi* api, Wanted wanted = nullptr, const void* context = nullptr)
      : api_(api), wanted_(wanted), context_(context) {}

  template <class Kernel>
  void add(const char* kernel, const std::string& prefix, const std::string& layer, const Variant& variant) {
    const std::string name = prefix + layer + variant.suffix;
    if (wanted_ != nullptr && !wanted_(context_, name)) {
      return;
    }
    if (api_ != nullptr) {  // null: only asked what there is
      Operator<Kernel>::api_of_inference = api_;
    }
    entries_.push_back(
        {{new Operator<Kernel>(name, variant), [](OrtCustomOp* op) { delete static_cast<Operator<Kernel>*>(op); }},
         name,
         kernel,
         prefix,
         layer,
         variant.suffix,
         component_names<Kernel>()});
  }

  // One for each activation; with a residual only where `with_residual`.
  template <class Kernel>
  void add_variants(const char* kernel, const std::string& prefix, const std::string& layer, bool with_residual) {
    for (const Variant& variant : variants) {
      if (!variant.residual || with_residual) {
        add<Kernel>(kernel, prefix, layer, variant);
      }
    }
  }

  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Entry> take() { return std::move(entries_); }

 private:
  const OrtApi* api_;
  Wanted wanted_;
  const void* context_;
  std::vector<Entry> entries_;
};

// In ops/float_layers.cpp, and for each kernel whose operators are of another shape in ops/<kernel>.cpp.
void add_float_layers(Operators& operators);
#define SPARSE_EXPORT_ADD(kernel)           \
  namespace kernel {                        \
  void add_operators(Operators& operators); \
  }
SPARSE_EXPORT_OPERATORS(SPARSE_EXPORT_ADD)
#undef SPARSE_EXPORT_ADD

inline void add_all_operators(Operators& operators) {
  add_float_layers(operators);
#define SPARSE_EXPORT_ADD(kernel) kernel::add_operators(operators);
  SPARSE_EXPORT_OPERATORS(SPARSE_EXPORT_ADD)
#undef SPARSE_EXPORT_ADD
}

}  // namespace sparse_export
