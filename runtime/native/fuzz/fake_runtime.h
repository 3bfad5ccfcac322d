// As much of onnxruntime as an operator can see, so that operators run under sanitizers without it.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "../abi.h"

extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions*, const OrtApiBase*);

struct OrtStatus {
  std::string message;
};

struct OrtTensorTypeAndShapeInfo {
  int type = 1;
  std::vector<int64_t> shape;
};

// Every tensor has its own allocation of exactly its size: one byte too far is a report.
struct OrtValue {
  OrtTensorTypeAndShapeInfo info;
  void* data = nullptr;
  size_t size = 0;        // bytes
  void* block = nullptr;  // that `data` lies in
  OrtValue() = default;
  // `offset`: distance from a multiple of 64, where onnxruntime's own tensors begin.
  OrtValue(int type, std::vector<int64_t> shape, const void* bytes, size_t length, size_t offset = 0)
      : info{type, std::move(shape)}, size(length) {
    if (posix_memalign(&block, 64, size + offset == 0 ? 1 : size + offset) != 0) {
      std::abort();
    }
    data = static_cast<char*>(block) + offset;
    if (size != 0) {
      std::memcpy(data, bytes, size);
    }
  }
  OrtValue(OrtValue&& other) noexcept : info(std::move(other.info)), data(other.data), size(other.size), block(other.block) {
    other.data = other.block = nullptr;
  }
  OrtValue& operator=(OrtValue&& other) noexcept {
    std::swap(info, other.info);
    std::swap(data, other.data);
    std::swap(size, other.size);
    std::swap(block, other.block);
    return *this;
  }
  ~OrtValue() { std::free(block); }
};

struct OrtKernelInfo {
  std::map<std::string, std::vector<int64_t>> lists;
  std::map<std::string, int64_t> integers;
  std::map<std::string, float> floats;
  std::vector<OrtValue>* inputs = nullptr;
  std::vector<bool> constant;
};

struct OrtKernelContext {
  std::vector<OrtValue>* inputs = nullptr;
  int output_type = 1;  // float or uint8
  OrtValue* shared = nullptr;  // an input whose memory the output takes over, if it has the output's shape
  OrtValue output;
};

namespace fake {

// The operators that the library registered.
std::vector<const OrtCustomOp*>& operators();

// An api table; operators get nothing else.
const OrtApi* api();

// Registers the library with the table above.
void load();

// How many threads a loop gets; with one, its iterations run backwards on the caller's thread.
size_t& threads();

}  // namespace fake
