"""Makes nncf.onnx, an ONNX model that NNCF quantized: nncf 3.4.0, pydot 4.0.1, tabulate 0.10.0.

Usage: pip install --no-deps nncf pydot tabulate; then python -m tests.exporter.quantized.producers.make_nncf
"""

from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from tests.onnx_models import residual_net

rng = np.random.default_rng(2)
batches = [{"X": rng.standard_normal((1, 16, 12, 12)).astype(np.float32)} for _ in range(4)]
target = Path(__file__).with_name("nncf.onnx")
onnx.save(residual_net(rng), target)
quant_pre_process(
    str(target), str(target), skip_symbolic_shape=True
)  # BatchNorms, as PyTorch's exporter folds them
onnx.save(nncf.quantize(onnx.load(target), nncf.Dataset(batches), subset_size=4), target)
