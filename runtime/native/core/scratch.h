// Scratch of one thread, kept between calls: allocating it afresh costs more than a small layer.
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
};

}  // namespace
}  // namespace sparse_export
