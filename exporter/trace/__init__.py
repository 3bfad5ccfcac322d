"""From tensors to a module, from a module to an ONNX graph with its weights unchanged."""
