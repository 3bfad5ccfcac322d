#include "threads.h"

#include <chrono>

namespace sparse_export {
namespace {

constexpr size_t iterations = 240;  // divisible by most small thread counts
constexpr auto patience = std::chrono::microseconds(100);
constexpr uint32_t doubtful_calls = 10;
constexpr uint32_t last_look = 4096;  // a session without a second thread by then has none

std::atomic<uint64_t> next_look{1};

// Runs a loop whose first iteration on each thread waits a little, so that every thread takes a range.
size_t look(const Pool& pool) {
  thread_local uint64_t seen = 0;
  const uint64_t look = next_look.fetch_add(1, std::memory_order_relaxed);
  std::atomic<size_t> range{iterations};  // smallest first iteration of a thread but that of iteration 0
  const auto start = std::chrono::steady_clock::now();
  pool.parallel(
      iterations,
      [&](size_t index) {
        if (seen == look) {
          return;
        }
        seen = look;
        size_t known = range.load();
        while (index != 0 && index < known && !range.compare_exchange_weak(known, index)) {
        }
        while (std::chrono::steady_clock::now() - start < patience) {
        }
      },
      false);
  return (iterations + range.load() / 2) / range.load();
}

}  // namespace

size_t ThreadCount::get(const Pool& pool) const {
  size_t most = most_.load(std::memory_order_relaxed);
  if (most > 1) {
    return most;
  }
  const uint32_t call = calls_.load(std::memory_order_relaxed);
  if (call < last_look) {
    calls_.fetch_add(1, std::memory_order_relaxed);
    if ((call & (call - 1)) == 0) {
      const size_t found = look(pool);
      while (found > most && !most_.compare_exchange_weak(most, found)) {
      }
    }
  }
  most = most_.load(std::memory_order_relaxed);
  return most == 1 && call < doubtful_calls ? 2 : most;
}

}  // namespace sparse_export
