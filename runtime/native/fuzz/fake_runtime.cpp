#include "fake_runtime.h"

#include <cmath>

namespace {

using namespace sparse_export;

constexpr int64_t largest_output = 1 << 20;

OrtStatus* fail(const char* message) { return new OrtStatus{message}; }

template <int Number, class Signature>
void set_slot(OrtApi& api, abi::Slot<Number, Signature>, Signature* function) {
  api.slots[Number] = reinterpret_cast<void (*)()>(function);
}

#define SET(name, ...) set_slot(api, abi::name{}, +__VA_ARGS__)

void set_status(OrtApi& api) {
  SET(CreateStatus, [](int, const char* message) { return new OrtStatus{message}; });
  SET(GetErrorMessage, [](const OrtStatus* status) { return status->message.c_str(); });
  SET(ReleaseStatus, [](OrtStatus* status) { delete status; });
  SET(CreateCustomOpDomain, [](const char*, OrtCustomOpDomain** out) -> OrtStatus* {
    *out = nullptr;
    return nullptr;
  });
  SET(CustomOpDomainAdd, [](OrtCustomOpDomain*, const OrtCustomOp* op) -> OrtStatus* {
    fake::operators().push_back(op);
    return nullptr;
  });
  SET(AddCustomOpDomain, [](OrtSessionOptions*, OrtCustomOpDomain*) -> OrtStatus* { return nullptr; });
}

void set_tensors(OrtApi& api) {
  SET(GetTensorMutableData, [](OrtValue* value, void** out) -> OrtStatus* {
    *out = value->data;
    return nullptr;
  });
  SET(GetTensorElementType, [](const OrtTensorTypeAndShapeInfo* info, int* out) -> OrtStatus* {
    *out = info->type;
    return nullptr;
  });
  SET(GetDimensionsCount, [](const OrtTensorTypeAndShapeInfo* info, size_t* out) -> OrtStatus* {
    *out = info->shape.size();
    return nullptr;
  });
  SET(GetDimensions, [](const OrtTensorTypeAndShapeInfo* info, int64_t* out, size_t count) -> OrtStatus* {
    for (size_t i = 0; i < count; ++i) {
      out[i] = info->shape[i];
    }
    return nullptr;
  });
  SET(GetTensorTypeAndShape, [](const OrtValue* value, OrtTensorTypeAndShapeInfo** out) -> OrtStatus* {
    *out = new OrtTensorTypeAndShapeInfo{value->type, value->shape};
    return nullptr;
  });
  SET(ReleaseTensorTypeAndShapeInfo, [](OrtTensorTypeAndShapeInfo* info) { delete info; });
  SET(IsSparseTensor, [](const OrtValue*, int* out) -> OrtStatus* {
    *out = 0;
    return nullptr;
  });
}

void set_info(OrtApi& api) {
  SET(KernelInfoGetAttributeFloat, [](const OrtKernelInfo* info, const char* name, float* out) -> OrtStatus* {
    const auto found = info->floats.find(name);
    if (found == info->floats.end()) {
      return fail("no such attribute");
    }
    *out = found->second;
    return nullptr;
  });
  SET(KernelInfoGetAttributeInt64, [](const OrtKernelInfo* info, const char* name, int64_t* out) -> OrtStatus* {
    const auto found = info->integers.find(name);
    if (found == info->integers.end()) {
      return fail("no such attribute");
    }
    *out = found->second;
    return nullptr;
  });
  SET(KernelInfoGetAttributeInts,
      [](const OrtKernelInfo* info, const char* name, int64_t* out, size_t* count) -> OrtStatus* {
        const auto found = info->lists.find(name);
        if (found == info->lists.end()) {
          return fail("no such attribute");
        }
        for (size_t i = 0; out != nullptr && i < found->second.size(); ++i) {
          out[i] = found->second[i];
        }
        *count = found->second.size();
        return nullptr;
      });
  SET(KernelInfoGetInputCount, [](const OrtKernelInfo* info, size_t* out) -> OrtStatus* {
    *out = info->inputs->size();
    return nullptr;
  });
  SET(KernelInfoGetConstantInputTensor,
      [](const OrtKernelInfo* info, size_t index, int* constant, const OrtValue** out) -> OrtStatus* {
        if (index >= info->inputs->size()) {
          return fail("no such input");
        }
        *constant = info->constant[index] ? 1 : 0;
        *out = *constant != 0 ? &(*info->inputs)[index] : nullptr;
        return nullptr;
      });
}

void set_context(OrtApi& api) {
  SET(KernelContextGetInputCount, [](const OrtKernelContext* context, size_t* out) -> OrtStatus* {
    *out = context->inputs->size();
    return nullptr;
  });
  SET(KernelContextGetInput, [](const OrtKernelContext* context, size_t index, const OrtValue** out) -> OrtStatus* {
    if (index >= context->inputs->size()) {
      return fail("no such input");
    }
    *out = &(*context->inputs)[index];
    return nullptr;
  });
  SET(KernelContextGetOutput,
      [](OrtKernelContext* context, size_t, const int64_t* dims, size_t rank, OrtValue** out) -> OrtStatus* {
        int64_t count = 1;
        for (size_t i = 0; i < rank; ++i) {
          if (dims[i] < 0 || (dims[i] != 0 && count > largest_output / dims[i])) {
            return fail("output too large");
          }
          count *= dims[i];
        }
        *out = &context->output;
        const std::vector<float> unset(static_cast<size_t>(count), std::nanf(""));
        const size_t size = static_cast<size_t>(count) * (context->output_type == 1 ? sizeof(float) : 1);
        context->output = OrtValue(context->output_type, {dims, dims + rank}, unset.data(), size);
        return nullptr;
      });
  SET(KernelContextParallelFor,
      [](const OrtKernelContext*, void (*function)(void*, size_t), size_t total, size_t batches,
         void* data) -> OrtStatus* {
        // A loop in contiguous ranges only asks for the number of threads: skipping it answers "one".
        for (size_t i = total; batches != 0 && i-- > 0;) {
          function(data, i);
        }
        return nullptr;
      });
}

}  // namespace

namespace fake {

std::vector<const OrtCustomOp*>& operators() {
  static std::vector<const OrtCustomOp*> all;
  return all;
}

const OrtApi* api() {
  static const OrtApi* table = [] {
    auto* api = new OrtApi{};
    set_status(*api);
    set_tensors(*api);
    set_info(*api);
    set_context(*api);
    return api;
  }();
  return table;
}

void load() {
  static const OrtApiBase base = {[](uint32_t) { return api(); }, [] { return "fake"; }};
  delete RegisterCustomOps(nullptr, &base);
}

}  // namespace fake
