"""From a checkpoint to a verified, packed ONNX file: one module a step."""
