"""Makes pt2e.onnx: PyTorch's own quantization of exported programs, torch 2.13.0 with torchao 0.18.0.

Usage: pip install --no-deps torchao; python -m tests.exporter.quantized.producers.make_pt2e
"""

from pathlib import Path

import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

from .net import batches, net

quantizer = x86.X86InductorQuantizer()
quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
prepared = prepare_pt2e(torch.export.export(net(), (batches()[0],)).module(), quantizer)
for batch in batches():
    prepared(batch)
target = str(Path(__file__).with_name("pt2e.onnx"))
torch.onnx.export(
    convert_pt2e(prepared), (batches()[0],), target, dynamo=True, external_data=False, opset_version=20
)
