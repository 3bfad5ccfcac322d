// What goes wrong is thrown as `Error`; the boundary to the runtime turns it into a status.
#pragma once

#include <exception>
#include <string>
#include <utility>

// For functions in shared headers that kernels call: never a symbol of its own, so that no copy compiled for a newer
// instruction set can replace the baseline one at link time.
#define SPARSE_EXPORT_INLINE inline __attribute__((always_inline))

namespace sparse_export {

// Whose fault it is: the model's or the caller's; nobody's (memory, the runtime); asked of a CPU or runtime that
// cannot do it.
enum class Fault { invalid, failed, unsupported };

class Error : public std::exception {
 public:
  explicit Error(std::string message, Fault fault = Fault::invalid) : message_(std::move(message)), fault_(fault) {}
  const char* what() const noexcept override { return message_.c_str(); }
  Fault fault() const noexcept { return fault_; }

 private:
  std::string message_;
  Fault fault_;
};

// Throws `Error` with this rule unless the condition holds.
inline void require(bool condition, const char* rule) {
  if (!condition) [[unlikely]] {
    throw Error(rule);
  }
}

}  // namespace sparse_export
