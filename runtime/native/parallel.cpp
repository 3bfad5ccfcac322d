#include "parallel.h"

#include <chrono>

namespace sparse_export {
namespace {

constexpr size_t iterations = 240;  // divisible by most small thread counts
constexpr auto patience = std::chrono::microseconds(40);

std::atomic<uint64_t> next_look{1};

// Runs a loop whose first iteration on each thread waits a little for a second thread.
size_t look(const Context& context) {
  thread_local uint64_t seen = 0;
  const uint64_t look = next_look.fetch_add(1, std::memory_order_relaxed);
  std::atomic<size_t> arrived{0};
  std::atomic<size_t> range{iterations};  // smallest first iteration of a thread but that of iteration 0
  context.parallel(
      iterations,
      [&](size_t index) {
        if (seen == look) {
          return;
        }
        seen = look;
        arrived.fetch_add(1);
        size_t known = range.load();
        while (index != 0 && index < known && !range.compare_exchange_weak(known, index)) {
        }
        const auto start = std::chrono::steady_clock::now();
        while (arrived.load() < 2 && std::chrono::steady_clock::now() - start < patience) {
        }
      },
      false);
  return (iterations + range.load() / 2) / range.load();
}

}  // namespace

size_t ThreadCount::get(const Context& context) const {
  if (looks_left_.load(std::memory_order_relaxed) > 0 && looks_left_.fetch_sub(1) > 0) {
    const size_t found = look(context);
    size_t most = most_.load();
    while (found > most && !most_.compare_exchange_weak(most, found)) {
    }
  }
  return most_.load(std::memory_order_relaxed);
}

}  // namespace sparse_export
