#include "api.h"

#include <atomic>
#include <memory>

namespace sparse_export {
namespace {

struct ShapeInfoRelease {
  const OrtApi* api;
  void operator()(OrtTensorTypeAndShapeInfo* info) const { abi::ReleaseTensorTypeAndShapeInfo::call(api, info); }
};
using ShapeInfo = std::unique_ptr<OrtTensorTypeAndShapeInfo, ShapeInfoRelease>;

constexpr size_t max_rank = 32;

Shape read_shape(const OrtApi* api, const OrtTensorTypeAndShapeInfo* info) {
  size_t rank = 0;
  check(api, abi::GetDimensionsCount::call(api, info, &rank));
  if (rank > max_rank) {
    throw Error("more than 32 dimensions");
  }
  Shape shape(rank);
  if (rank != 0) {
    check(api, abi::GetDimensions::call(api, info, shape.data(), rank));
  }
  return shape;
}

Tensor read_tensor(const OrtApi* api, const OrtValue* value, const char* name) {
  if (value == nullptr) {
    throw Error(std::string("input '") + name + "' is missing");
  }
  int sparse = 0;
  check(api, abi::IsSparseTensor::call(api, value, &sparse));
  if (sparse != 0) {
    throw Error(std::string("input '") + name + "' is a sparse tensor, a dense one is needed");
  }
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  check(api, abi::GetTensorTypeAndShape::call(api, value, &raw));
  const ShapeInfo info(raw, ShapeInfoRelease{api});
  Tensor tensor;
  check(api, abi::GetTensorElementType::call(api, const_cast<const OrtTensorTypeAndShapeInfo*>(raw), &tensor.type));
  tensor.shape = read_shape(api, raw);
  tensor.count = checked_count(tensor.shape);
  void* data = nullptr;
  check(api, abi::GetTensorMutableData::call(api, const_cast<OrtValue*>(value), &data));
  tensor.data = data;
  return tensor;
}

}  // namespace

void check(const OrtApi* api, OrtStatus* status) {
  if (status == nullptr) [[likely]] {
    return;
  }
  std::string message;
  try {
    message = abi::GetErrorMessage::call(api, const_cast<const OrtStatus*>(status));
  } catch (...) {
    abi::ReleaseStatus::call(api, status);
    throw;
  }
  abi::ReleaseStatus::call(api, status);
  throw Error(std::move(message), Fault::failed);
}

int code_of(Fault fault) {
  switch (fault) {
    case Fault::invalid:
      return abi::code_invalid_argument;
    case Fault::unsupported:
      return abi::code_not_implemented;
    default:
      return abi::code_fail;
  }
}

int64_t KernelInfo::integer(const char* name) const {
  int64_t value = 0;
  if (OrtStatus* status = abi::KernelInfoGetAttributeInt64::call(api_, info_, name, &value)) {
    abi::ReleaseStatus::call(api_, status);
    throw Error(std::string("attribute '") + name + "' is missing or is not an integer");
  }
  return value;
}

float KernelInfo::number(const char* name) const {
  float value = 0;
  if (OrtStatus* status = abi::KernelInfoGetAttributeFloat::call(api_, info_, name, &value)) {
    abi::ReleaseStatus::call(api_, status);
    throw Error(std::string("attribute '") + name + "' is missing or is not a float");
  }
  return value;
}

std::vector<int64_t> KernelInfo::integers(const char* name, size_t limit) const {
  size_t count = 0;
  int64_t* const sizing = nullptr;
  if (OrtStatus* status = abi::KernelInfoGetAttributeInts::call(api_, info_, name, sizing, &count)) {
    abi::ReleaseStatus::call(api_, status);
    throw Error(std::string("attribute '") + name + "' is missing or is not a list of integers");
  }
  if (count > limit) {
    throw Error(std::string("attribute '") + name + "' has too many elements");
  }
  std::vector<int64_t> values(count);
  if (count != 0) {
    check(api_, abi::KernelInfoGetAttributeInts::call(api_, info_, name, values.data(), &count));
    values.resize(count < values.size() ? count : values.size());
  }
  return values;
}

Tensor KernelInfo::constant(size_t index, const char* name) const {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  check(api_, abi::KernelInfoGetConstantInputTensor::call(api_, info_, index, &is_constant, &value));
  if (is_constant == 0) {
    throw Error(std::string("input '") + name + "' must be an initializer");
  }
  return read_tensor(api_, value, name);
}

size_t KernelInfo::input_count() const {
  size_t count = 0;
  check(api_, abi::KernelInfoGetInputCount::call(api_, info_, &count));
  return count;
}

Tensor Context::input(size_t index, const char* name) const {
  const OrtValue* value = nullptr;
  check(api_, abi::KernelContextGetInput::call(api_, const_cast<const OrtKernelContext*>(context_), index, &value));
  return read_tensor(api_, value, name);
}

const float* Context::floats(size_t index, const char* name, int64_t count) const {
  const Tensor tensor = input(index, name);
  if (tensor.type != element_float || tensor.count != count) {
    throw Error(std::string("input '") + name + "' must be float32 with " + std::to_string(count) +
                " elements, it has " + std::to_string(tensor.count) + " of element type " +
                std::to_string(tensor.type));
  }
  return tensor.as<float>();
}

const float* Context::floats(size_t index, const char* name, const Shape& shape) const {
  const Tensor tensor = input(index, name);
  if (tensor.type != element_float || tensor.shape != shape) {
    throw Error(std::string("input '") + name + "' must be float32 and have the output's shape");
  }
  return tensor.as<float>();
}

void Context::run(size_t count, void (*body)(void*, size_t), void* data, bool dynamic) const {
  check(api_, abi::KernelContextParallelFor::call(api_, static_cast<const OrtKernelContext*>(context_), body, count,
                                                  dynamic ? count : size_t{0}, data));
}

void* Context::allocate(size_t index, const Shape& shape) const {
  OrtValue* value = nullptr;
  check(api_, abi::KernelContextGetOutput::call(api_, context_, index, shape.data(), shape.size(), &value));
  if (value == nullptr) {
    return nullptr;
  }
  void* data = nullptr;
  check(api_, abi::GetTensorMutableData::call(api_, value, &data));
  return data;
}

bool ShapeContext::input_shape(size_t index, std::vector<Dimension>& shape) const {
  size_t inputs = 0;
  const auto* context = static_cast<const OrtShapeInferContext*>(context_);
  check(api_, abi::ShapeInferGetInputCount::call(api_, context, &inputs));
  if (index >= inputs) {
    return false;
  }
  OrtTensorTypeAndShapeInfo* info = nullptr;  // owned by the context
  check(api_, abi::ShapeInferGetInputTypeShape::call(api_, context, index, &info));
  if (info == nullptr) {
    return false;
  }
  const Shape values = read_shape(api_, info);
  std::vector<const char*> symbols(values.size(), nullptr);
  if (!values.empty()) {
    check(api_, abi::GetSymbolicDimensions::call(api_, static_cast<const OrtTensorTypeAndShapeInfo*>(info),
                                                 symbols.data(), symbols.size()));
  }
  shape.assign(values.size(), {});
  for (size_t i = 0; i < values.size(); ++i) {
    shape[i] = {values[i] < 0 ? -1 : values[i], symbols[i] == nullptr ? "" : symbols[i]};
  }
  return true;
}

bool ShapeContext::integers(const char* name, size_t limit, std::vector<int64_t>& values) const {
  const OrtOpAttr* attribute = nullptr;
  const auto* context = static_cast<const OrtShapeInferContext*>(context_);
  OrtStatus* status = abi::ShapeInferGetAttribute::call(api_, context, name, &attribute);
  if (status != nullptr || attribute == nullptr) {
    if (status != nullptr) {
      abi::ReleaseStatus::call(api_, status);
    }
    return false;
  }
  values.assign(limit, 0);
  size_t bytes = 0;
  status = abi::ReadOpAttr::call(api_, attribute, int{abi::attribute_ints}, static_cast<void*>(values.data()),
                                 limit * sizeof(int64_t), &bytes);
  if (status != nullptr) {
    abi::ReleaseStatus::call(api_, status);
    return false;
  }
  values.resize(bytes / sizeof(int64_t) < limit ? bytes / sizeof(int64_t) : limit);
  return true;
}

void ShapeContext::set_output(const std::vector<Dimension>& shape, int type) const {
  static std::atomic<uint64_t> unnamed{0};
  Shape values;
  std::vector<std::string> names;
  for (const Dimension& dim : shape) {
    values.push_back(dim.value);
    names.push_back(dim.value >= 0 || !dim.symbol.empty()
                        ? dim.symbol
                        : "sparse_export_" + std::to_string(unnamed.fetch_add(1, std::memory_order_relaxed)));
  }
  std::vector<const char*> symbols;
  for (size_t i = 0; i < names.size(); ++i) {
    symbols.push_back(values[i] >= 0 ? "" : names[i].c_str());
  }
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  check(api_, abi::CreateTensorTypeAndShapeInfo::call(api_, &raw));
  const ShapeInfo info(raw, ShapeInfoRelease{api_});
  check(api_, abi::SetTensorElementType::call(api_, raw, int{type}));
  check(api_, abi::SetDimensions::call(api_, raw, static_cast<const int64_t*>(values.data()), values.size()));
  check(api_, abi::SetSymbolicDimensions::call(api_, raw, symbols.data(), symbols.size()));
  check(api_, abi::ShapeInferSetOutputTypeShape::call(api_, static_cast<const OrtShapeInferContext*>(context_),
                                                      size_t{0}, static_cast<const OrtTensorTypeAndShapeInfo*>(raw)));
}

}  // namespace sparse_export
