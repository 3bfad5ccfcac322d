// Entry point that onnxruntime looks up in a custom-op library.
struct OrtStatus;
struct OrtSessionOptions;
struct OrtApiBase;
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions*, const OrtApiBase*) {
  return nullptr;
}
