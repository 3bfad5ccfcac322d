#include <array>
#include <cstdio>
#include <vector>

#include <onnxruntime_cxx_api.h>

int main(int count, char** arguments) {
  // arguments: the model, the path that `sparse-export ops-path` prints
  if (count != 3) {
    return 2;
  }
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "example");
  Ort::SessionOptions options;
  options.RegisterCustomOpsLibrary(arguments[2]);
  Ort::Session session(env, arguments[1], options);

  const std::array<int64_t, 4> shape = {1, 3, 224, 224};
  std::vector<float> pixels(3 * 224 * 224);
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const Ort::Value input =
      Ort::Value::CreateTensor<float>(memory, pixels.data(), pixels.size(), shape.data(), shape.size());
  const char* input_names[] = {"input"};
  const char* output_names[] = {"output"};
  const auto outputs = session.Run(Ort::RunOptions{nullptr}, input_names, &input, 1, output_names, 1);
  std::printf("%f\n", static_cast<double>(outputs[0].GetTensorData<float>()[0]));
  return 0;
}
