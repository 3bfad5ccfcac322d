// C++ view of the ABI: errors, tensors, attributes, the context of one call.
//
// Inside the library a failure is a thrown `Error`; `guarded` turns it into an OrtStatus at the boundary, so no
// exception crosses the C ABI. Code that runs inside `Pool::parallel` must not throw.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "abi.h"
#include "core/pool.h"
#include "core/tensor.h"

namespace sparse_export {

// Throws the status as an `Error`; releases it. Null is success.
void check(const OrtApi* api, OrtStatus* status);

// What onnxruntime calls a fault.
int code_of(Fault fault);

// Runs `body`, returns null or a status that says what went wrong. Messages start with the operator's name.
template <class Body>
OrtStatus* guarded(const OrtApi* api, const char* name, Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const Error& error) {
    try {
      const std::string message = std::string(name) + ": " + error.what();
      return abi::CreateStatus::call(api, code_of(error.fault()), message.c_str());
    } catch (...) {
      return abi::CreateStatus::call(api, int{abi::code_fail}, "sparse_export: out of memory");
    }
  } catch (const std::exception& error) {
    return abi::CreateStatus::call(api, int{abi::code_fail}, error.what());
  } catch (...) {
    return abi::CreateStatus::call(api, int{abi::code_fail}, "sparse_export: unknown failure");
  }
}

// What an operator can ask when its kernel is created: attributes and constant inputs.
class KernelInfo {
 public:
  KernelInfo(const OrtApi* api, const OrtKernelInfo* info) : api_(api), info_(info) {}

  int64_t integer(const char* name) const;
  float number(const char* name) const;
  // A list of at most `limit` integers.
  std::vector<int64_t> integers(const char* name, size_t limit) const;
  // An input that must be an initializer; stays valid and in place while the session lives.
  Tensor constant(size_t index, const char* name) const;
  size_t input_count() const;

 private:
  const OrtApi* api_;
  const OrtKernelInfo* info_;
};

// One call of a kernel: its tensors and onnxruntime's thread pool.
class Context final : public Pool {
 public:
  Context(const OrtApi* api, OrtKernelContext* context) : api_(api), context_(context) {}

  Tensor input(size_t index, const char* name) const;
  // A float32 input of exactly `count` elements.
  const float* floats(size_t index, const char* name, int64_t count) const;
  // A float32 input of exactly this shape.
  const float* floats(size_t index, const char* name, const Shape& shape) const;
  template <class T = float>
  T* output(size_t index, const Shape& shape) const {
    return static_cast<T*>(allocate(index, shape));
  }

 private:
  void run(size_t count, void (*body)(void*, size_t), void* data, bool dynamic) const override;
  void* allocate(size_t index, const Shape& shape) const;

  const OrtApi* api_;
  OrtKernelContext* context_;
};

// A dimension in shape inference: a value, or -1 and the name it goes by in the model (which may be empty).
struct Dimension {
  int64_t value = -1;
  std::string symbol;
};

// What shape inference can ask.
class ShapeContext {
 public:
  ShapeContext(const OrtApi* api, OrtShapeInferContext* context) : api_(api), context_(context) {}

  // False where the input has no known rank.
  bool input_shape(size_t index, std::vector<Dimension>& shape) const;
  bool integers(const char* name, size_t limit, std::vector<int64_t>& values) const;
  // Unknown dimensions without a name get one of their own.
  void set_output(const std::vector<Dimension>& shape, int type) const;

 private:
  const OrtApi* api_;
  OrtShapeInferContext* context_;
};

}  // namespace sparse_export
