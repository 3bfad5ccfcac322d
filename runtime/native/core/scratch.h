// Scratch of one thread, kept between calls: allocating it afresh costs more than a small layer. Not so with a large one,
// and what large ones kept would be most of what a packed net takes.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace sparse_export {
namespace {

struct Scratch {
  char* data = nullptr;
  size_t capacity = 0;
  ~Scratch() { std::free(data); }

  // At least `bytes`, aligned to 4096; null where there is no memory. Contents are undefined.
  char* reserve(size_t bytes) {
    if (capacity < bytes) {
      std::free(data);
      capacity = (bytes + 4095) / 4096 * 4096;
      data = static_cast<char*>(std::aligned_alloc(4096, capacity));
      if (data == nullptr) {
        capacity = 0;
      }
    }
    return data;
  }

  static constexpr size_t kept = size_t{1} << 17;
};

// One use of it, behind which what is large goes back to the allocator, for others to use.
class ScratchUse {
 public:
  explicit ScratchUse(Scratch& scratch) : scratch_(scratch) {}
  ScratchUse(const ScratchUse&) = delete;
  ScratchUse& operator=(const ScratchUse&) = delete;
  ~ScratchUse() {
    if (scratch_.capacity > Scratch::kept) {
      std::free(scratch_.data);
      scratch_.data = nullptr;
      scratch_.capacity = 0;
    }
  }

 private:
  Scratch& scratch_;
};

}  // namespace
}  // namespace sparse_export
