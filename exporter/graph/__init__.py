"""The ONNX graph as it came: who makes and reads what, and which nodes are layers."""
