// C++ view of the ABI: errors, tensors, attributes, the context of one call.
//
// Inside the library a failure is a thrown `Error`; `guarded` turns it into an OrtStatus at the boundary, so no
// exception crosses the C ABI. Code that runs inside `Context::parallel` must not throw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "abi.h"

// For functions in shared headers that kernels call: never a symbol of its own, so that no copy compiled for a newer
// instruction set can replace the baseline one at link time.
#define SPARSE_EXPORT_INLINE inline __attribute__((always_inline))

namespace sparse_export {

class Error : public std::exception {
 public:
  explicit Error(std::string message, int code = abi::code_invalid_argument)
      : message_(std::move(message)), code_(code) {}
  const char* what() const noexcept override { return message_.c_str(); }
  int code() const noexcept { return code_; }

 private:
  std::string message_;
  int code_;
};

// Throws `Error` with this rule unless the condition holds.
inline void require(bool condition, const char* rule) {
  if (!condition) [[unlikely]] {
    throw Error(rule);
  }
}

// Throws the status as an `Error`; releases it. Null is success.
void check(const OrtApi* api, OrtStatus* status);

// Runs `body`, returns null or a status that says what went wrong. Messages start with the operator's name.
template <class Body>
OrtStatus* guarded(const OrtApi* api, const char* name, Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const Error& error) {
    try {
      const std::string message = std::string(name) + ": " + error.what();
      return abi::CreateStatus::call(api, error.code(), message.c_str());
    } catch (...) {
      return abi::CreateStatus::call(api, int{abi::code_fail}, "sparse_export: out of memory");
    }
  } catch (const std::exception& error) {
    return abi::CreateStatus::call(api, int{abi::code_fail}, error.what());
  } catch (...) {
    return abi::CreateStatus::call(api, int{abi::code_fail}, "sparse_export: unknown failure");
  }
}

using Shape = std::vector<int64_t>;

// A tensor where onnxruntime keeps it: element type, shape, first byte. Owns nothing.
struct Tensor {
  int type = abi::element_any;
  Shape shape;
  const void* data = nullptr;
  int64_t count = 0;

  template <class T>
  SPARSE_EXPORT_INLINE const T* as() const {
    return static_cast<const T*>(data);
  }
};

// Product of the dimensions; throws where one is negative or the product passes 2^48.
int64_t checked_count(const Shape& shape);

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
class Context {
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

  // Calls `body(i)` for i in [0, count) on the session's threads; returns when all are done. `body` must not throw.
  // `dynamic`: every index may run on any thread; otherwise each thread gets one contiguous range.
  template <class Body>
  void parallel(size_t count, Body&& body, bool dynamic = true) const {
    if (count == 1) {
      body(size_t{0});
      return;
    }
    if (count == 0) {
      return;
    }
    auto* pointer = &body;
    check(api_, abi::KernelContextParallelFor::call(
                    api_, static_cast<const OrtKernelContext*>(context_),
                    +[](void* data, size_t index) { (*static_cast<decltype(pointer)>(data))(index); }, count,
                    dynamic ? count : size_t{0}, static_cast<void*>(pointer)));
  }

 private:
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
