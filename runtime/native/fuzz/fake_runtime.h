// As much of onnxruntime as an operator can see, so that operators run under sanitizers without it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "buffer.h"
#include "ort/abi.h"

extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions*, const OrtApiBase*);

struct OrtStatus {
  std::string message;
};

struct OrtTensorTypeAndShapeInfo {
  int type = 1;
  std::vector<int64_t> shape;
};

struct OrtValue : fuzz::Buffer {
  using Buffer::Buffer;
  OrtValue(Buffer&& other) : Buffer(std::move(other)) {}
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
  OrtValue output;
};

namespace fake {

// The operators that the library registered.
std::vector<const OrtCustomOp*>& operators();

// An api table; operators get nothing else.
const OrtApi* api();

// Registers the library with the table above.
void load();

}  // namespace fake
