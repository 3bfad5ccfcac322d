"""Makes brevitas.onnx in Brevitas' QCDQ form: brevitas 0.13.4, dependencies 2.0.1, onnxoptimizer.

Usage: pip install --no-deps brevitas dependencies==2.0.1 unfoldNd onnxoptimizer; then
python -m tests.exporter.quantized.producers.make_brevitas
"""

from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas import quant
from brevitas.export import export_onnx_qcdq
from torch import nn
from torch.nn import functional as F

from .net import batches, net

SIGNED = {"act_quant": quant.Int8ActPerTensorFloat, "return_quant_tensor": True}
UNSIGNED = {"act_quant": quant.Uint8ActPerTensorFloat, "return_quant_tensor": True}


class Quantized(nn.Module):
    """The net with a quantizer at each place where a tensor is rounded."""

    def __init__(self) -> None:
        super().__init__()
        how: dict[str, Any] = {"weight_quant": quant.Int8WeightPerChannelFloat, "bias_quant": quant.Int32Bias}
        self.input = qnn.QuantIdentity(**SIGNED)
        self.stem = qnn.QuantConv2d(3, 24, 3, padding=1, return_quant_tensor=True, **how)
        self.relu0 = qnn.QuantReLU(**UNSIGNED)
        self.a = qnn.QuantConv2d(24, 32, 3, padding=1, return_quant_tensor=True, **how)
        self.relu1 = qnn.QuantReLU(**UNSIGNED)
        self.b = qnn.QuantConv2d(32, 32, 3, padding=1, return_quant_tensor=True, **how)
        self.sum = qnn.QuantIdentity(**SIGNED)
        self.relu2 = qnn.QuantReLU(**UNSIGNED)
        self.pooled = qnn.QuantIdentity(**UNSIGNED)
        self.fc = qnn.QuantLinear(32, 100, bias=True, **how)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.relu0(self.stem(self.input(x))), 2)
        y = self.relu1(self.a(x))
        z = self.relu2(self.sum(self.b(y)).value + y.value)
        pooled = torch.flatten(F.avg_pool2d(z.value, 8), 1)
        return self.fc(self.pooled(pooled))  # type: ignore[no-any-return]


model = Quantized()
model.load_state_dict(net().state_dict(), strict=False)
model.train()
for batch in batches():
    model(batch)
model.eval()
target = str(Path(__file__).with_name("brevitas.onnx"))
export_onnx_qcdq(model, batches()[0], target, opset_version=17, dynamo=False)
