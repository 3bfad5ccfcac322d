// The part of onnxruntime's C++ API that load_model.cpp uses, over the C ABI of the real library: for machines where
// only the library is installed (a Python or Node package), not its header. A program that compiles with this one
// compiles with the official header, to which a real program belongs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

extern "C" {
struct OrtApi {
  void (*slots[101])();
};
struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};
const OrtApiBase* OrtGetApiBase();
}

namespace Ort {
namespace abi {

// Positions in OrtApi, which only ever grows at its end.
enum Slot : size_t {
  kErrorMessage = 2, kCreateEnv = 3, kCreateSession = 7, kRun = 9, kCreateOptions = 10, kRegisterLibrary = 29,
  kCreateTensor = 49, kTensorData = 51, kCreateCpuMemory = 69, kReleaseEnv = 92, kReleaseStatus = 93,
  kReleaseMemory = 94, kReleaseSession = 95, kReleaseValue = 96, kReleaseOptions = 100
};

template <class Result, class... Arguments>
Result call(Slot slot, Arguments... arguments) {
  static const OrtApi* const api = OrtGetApiBase()->GetApi(17);
  return reinterpret_cast<Result (*)(Arguments...)>(api->slots[slot])(arguments...);
}

template <class... Arguments>
void checked(Slot slot, Arguments... arguments) {
  if (void* status = call<void*>(slot, arguments...)) {
    const std::string message = call<const char*>(kErrorMessage, static_cast<const void*>(status));
    call<void>(kReleaseStatus, status);
    throw std::runtime_error(message);
  }
}

// Owns an object of the library.
template <Slot release>
struct Handle {
  Handle() = default;
  Handle(Handle&& other) noexcept : at(std::exchange(other.at, nullptr)) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (at != nullptr) {
      call<void>(release, at);
    }
  }
  void* at = nullptr;
};

}  // namespace abi

struct Env : abi::Handle<abi::kReleaseEnv> {
  Env(OrtLoggingLevel level, const char* id) { abi::checked(abi::kCreateEnv, static_cast<int>(level), id, &at); }
};

struct SessionOptions : abi::Handle<abi::kReleaseOptions> {
  SessionOptions() { abi::checked(abi::kCreateOptions, &at); }
  SessionOptions& RegisterCustomOpsLibrary(const char* path) {
    void* library = nullptr;  // stays loaded as long as the process
    abi::checked(abi::kRegisterLibrary, at, path, &library);
    return *this;
  }
};

struct RunOptions {
  explicit RunOptions(std::nullptr_t) {}
};

struct MemoryInfo : abi::Handle<abi::kReleaseMemory> {
  static MemoryInfo CreateCpu(OrtAllocatorType allocator, OrtMemType memory) {
    MemoryInfo made;
    abi::checked(abi::kCreateCpuMemory, static_cast<int>(allocator), static_cast<int>(memory), &made.at);
    return made;
  }
};

struct Value : abi::Handle<abi::kReleaseValue> {
  template <class T>
  static Value CreateTensor(const MemoryInfo& info, T* data, size_t count, const int64_t* shape, size_t rank) {
    static_assert(sizeof(T) == 4, "float, which is element type 1");
    Value made;
    abi::checked(abi::kCreateTensor, info.at, static_cast<void*>(data), count * sizeof(T), shape, rank, 1, &made.at);
    return made;
  }
  template <class T>
  const T* GetTensorData() const {
    void* data = nullptr;
    abi::checked(abi::kTensorData, at, &data);
    return static_cast<const T*>(data);
  }
};

struct Session : abi::Handle<abi::kReleaseSession> {
  Session(const Env& env, const char* path, const SessionOptions& options) {
    abi::checked(abi::kCreateSession, env.at, path, options.at, &at);
  }
  std::vector<Value> Run(const RunOptions&, const char* const* input_names, const Value* inputs, size_t input_count,
                         const char* const* output_names, size_t output_count) {
    std::vector<void*> given, found(output_count, nullptr);
    for (size_t i = 0; i < input_count; ++i) {
      given.push_back(inputs[i].at);
    }
    void* const no_options = nullptr;
    abi::checked(abi::kRun, at, no_options, input_names, given.data(), input_count, output_names, output_count,
                 found.data());
    std::vector<Value> results(output_count);
    for (size_t i = 0; i < output_count; ++i) {
      results[i].at = found[i];
    }
    return results;
  }
};

}  // namespace Ort
