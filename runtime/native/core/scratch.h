// Scratch of one thread, kept between calls: allocating it afresh costs more than a small layer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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

  // As `reserve`, for pieces of these sizes, one behind the other, each aligned to 64: where they begin; null, all of
  // them, where there is no memory.
  template <size_t N>
  std::array<char*, N> divide(const std::array<int64_t, N>& sizes) {
    const auto padded = [](int64_t bytes) { return static_cast<size_t>((bytes + 63) / 64 * 64); };
    size_t all = 0;
    for (const int64_t size : sizes) {
      all += padded(size);
    }
    std::array<char*, N> pieces{};
    char* next = reserve(all);
    for (size_t i = 0; next != nullptr && i < N; ++i) {
      pieces[i] = next;
      next += padded(sizes[i]);
    }
    return pieces;
  }
};

}  // namespace
}  // namespace sparse_export
