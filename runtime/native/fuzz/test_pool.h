// Threads of the test programs.
#pragma once

#include <thread>
#include <vector>

#include "core/pool.h"

namespace fuzz {

// Every thread gets a contiguous range; with one thread, iterations run backwards on the caller's.
class TestPool final : public sparse_export::Pool {
 public:
  explicit TestPool(size_t threads) : threads_(threads) {}

 private:
  void run(size_t count, void (*body)(void*, size_t), void* data, bool) const override {
    if (threads_ == 1) {
      for (size_t i = count; i-- > 0;) {
        body(data, i);
      }
      return;
    }
    std::vector<std::thread> threads;
    for (size_t index = 0; index < threads_; ++index) {
      threads.emplace_back([=, this] {
        for (size_t i = count * index / threads_; i < count * (index + 1) / threads_; ++i) {
          body(data, i);
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

  size_t threads_;
};

}  // namespace fuzz
