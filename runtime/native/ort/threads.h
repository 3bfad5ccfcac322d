// How many threads a session gives its kernels.
//
// The ABI has no question for it, and work cut for more threads than there are does double work. So some calls of a
// kernel look: onnxruntime cuts a loop into one contiguous range per thread, and where a second thread begins tells
// how many there are. A thread that sleeps is missed. So calls 1, 2, 4, 8, ... look again until threads are found,
// and the first calls are cut for two threads, which keeps a second one awake.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/pool.h"

namespace sparse_export {

class ThreadCount {
 public:
  // At least 1; may grow during the first calls.
  size_t get(const Pool& pool) const;

 private:
  mutable std::atomic<uint32_t> calls_{0};
  mutable std::atomic<size_t> most_{1};
};

}  // namespace sparse_export
