// Threads that somebody else keeps: onnxruntime's, or a test program's.
#pragma once

#include <atomic>
#include <cstddef>
#include <type_traits>

#include "error.h"

namespace sparse_export {

class Pool {
 public:
  // Calls `body(i)` for i in [0, count); returns when all are done. `body` must not throw.
  // `dynamic`: every index may run on any thread; otherwise each thread gets one contiguous range.
  template <class Body>
  void parallel(size_t count, Body&& body, bool dynamic = true) const {
    if (count == 1) {
      body(size_t{0});
    } else if (count != 0) {
      using Plain = std::remove_reference_t<Body>;
      run(
          count, [](void* data, size_t index) { (*static_cast<Plain*>(data))(index); },
          const_cast<void*>(static_cast<const void*>(&body)), dynamic);
    }
  }

  // Calls `unit(i)` for every unit of a call; throws where one reports that memory ran out.
  template <class Unit>
  void run_units(size_t units, Unit&& unit) const {
    std::atomic<bool> done{true};
    parallel(units, [&](size_t i) {
      if (!unit(i)) {
        done.store(false, std::memory_order_relaxed);
      }
    });
    if (!done.load(std::memory_order_relaxed)) {
      throw Error("out of memory", Fault::failed);
    }
  }

 protected:
  ~Pool() = default;

 private:
  virtual void run(size_t count, void (*body)(void*, size_t), void* data, bool dynamic) const = 0;
};

}  // namespace sparse_export
