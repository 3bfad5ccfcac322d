// Declarations of the part of onnxruntime's C++ API that load_model.cpp uses: enough to check its syntax and types
// where the official header is not installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

namespace Ort {

struct Env {
  Env(OrtLoggingLevel level, const char* id);
};

struct SessionOptions {
  SessionOptions();
  SessionOptions& RegisterCustomOpsLibrary(const char* path);
};

struct RunOptions {
  explicit RunOptions(std::nullptr_t);
};

struct MemoryInfo {
  static MemoryInfo CreateCpu(OrtAllocatorType allocator, OrtMemType memory);
};

struct Value {
  template <class T>
  static Value CreateTensor(const MemoryInfo& info, T* data, size_t count, const int64_t* shape, size_t rank);
  template <class T>
  const T* GetTensorData() const;
};

struct Session {
  Session(const Env& env, const char* path, const SessionOptions& options);
  std::vector<Value> Run(const RunOptions& options, const char* const* input_names, const Value* inputs,
                         size_t input_count, const char* const* output_names, size_t output_count);
};

}  // namespace Ort
