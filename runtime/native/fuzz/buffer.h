// Tensors of the test programs: each has its own allocation of exactly its size, so that one byte too far is a report.
#pragma once

#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace fuzz {

struct Buffer {
  int type = sparse_export::element_float;
  std::vector<int64_t> shape;
  void* data = nullptr;
  size_t size = 0;        // bytes
  void* block = nullptr;  // that `data` lies in

  Buffer() = default;
  // `offset`: distance from a multiple of 64, where onnxruntime's own tensors begin.
  Buffer(int element, std::vector<int64_t> dims, const void* bytes, size_t length, size_t offset = 0)
      : type(element), shape(std::move(dims)), size(length) {
    if (posix_memalign(&block, 64, size + offset == 0 ? 1 : size + offset) != 0) {
      std::abort();
    }
    data = static_cast<char*>(block) + offset;
    if (size != 0) {
      std::memcpy(data, bytes, size);
    }
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() { std::free(block); }

  sparse_export::Tensor tensor() const { return {type, shape, data, sparse_export::checked_count(shape)}; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(type, other.type);
    std::swap(shape, other.shape);
    std::swap(data, other.data);
    std::swap(size, other.size);
    std::swap(block, other.block);
  }
};

template <class T>
Buffer buffer_of(int type, const std::vector<T>& data, std::vector<int64_t> shape) {
  return Buffer(type, std::move(shape), data.data(), data.size() * sizeof(T));
}

}  // namespace fuzz
