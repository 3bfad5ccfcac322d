// Memory that is kept for a session, and what is made when first asked for.
//
// With what the C++ runtime of systems from 2014 on has: arrays of `new T[count]` that check for an overflow, `new` of
// aligned types, std::shared_ptr and std::call_once ask for newer ones, and wheels are to run there.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>

#include "error.h"

namespace sparse_export {

struct Free {
  void operator()(void* data) const { std::free(data); }
};

// Of plain numbers.
template <class T>
using Array = std::unique_ptr<T[], Free>;

// `count` zeros. Throws where memory runs out.
template <class T>
Array<T> zeros(size_t count) {
  Array<T> array(static_cast<T*>(std::calloc(count, sizeof(T))));
  if (array == nullptr) {
    throw Error("out of memory", Fault::failed);
  }
  return array;
}

// For containers of types that are aligned by more than a pointer is.
template <class T>
struct AlignedAllocator {
  using value_type = T;

  AlignedAllocator() = default;
  template <class Other>
  AlignedAllocator(const AlignedAllocator<Other>&) {}

  T* allocate(size_t count) {
    void* data = count > SIZE_MAX / sizeof(T) ? nullptr : std::aligned_alloc(alignof(T), count * sizeof(T));
    if (data == nullptr) {
      throw std::bad_alloc();
    }
    return static_cast<T*>(data);
  }
  void deallocate(T* data, size_t) { std::free(data); }

  template <class Other>
  bool operator==(const AlignedAllocator<Other>&) const {
    return true;
  }
};

// Runs something once, whichever thread comes first. Where it throws, the next one tries again.
class Once {
 public:
  template <class Make>
  void run(Make&& make) {
    if (done_.load(std::memory_order_acquire)) {
      return;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!done_.load(std::memory_order_relaxed)) {
      make();
      done_.store(true, std::memory_order_release);
    }
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> done_{false};
};

}  // namespace sparse_export
