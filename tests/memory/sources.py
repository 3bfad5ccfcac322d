"""Checkpoints and models of a wanted size, nine of ten weights zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from sparse_export.exporter.nets import torchvision

#: Written beside a checkpoint: the net that it is of.
FACTORY = """
from torch import nn

def make():
    return nn.Sequential(*[nn.Linear({side}, {side}, bias=False) for _ in range({layers})])
"""


def pruned(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal weights, about nine of ten of them zero."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator)
    return values.mul_(torch.rand(shape, generator=generator) < 0.1).add_(0.0)


def linear_checkpoint(folder: Path, side: int, layers: int) -> tuple[Path, str]:
    """A state dict of square linear layers (4 x side^2 bytes each), and the architecture to name."""
    state = {f"{place}.weight": pruned(side, side, seed=place) for place in range(layers)}
    path = folder / f"linear{layers}x{side}.pt"
    torch.save(state, path)
    (folder / "net.py").write_text(FACTORY.format(side=side, layers=layers))
    return path, f"{folder / 'net.py'}:make"


def vgg_checkpoint(folder: Path) -> Path:
    """VGG-11 with batch norm, 531 MB, three quarters of them in one weight."""
    state = torchvision.build("vgg11_bn").state_dict()
    state = {name: pruned(*tensor.shape) if tensor.ndim > 1 else tensor for name, tensor in state.items()}
    torch.save(state, folder / "vgg11_bn.pt")
    return folder / "vgg11_bn.pt"


def matmul_model(path: Path, side: int, layers: int) -> Path:
    """An .onnx file of square MatMul weights, inputs first: they are packed as their transposes."""
    nodes, tensors = [], []
    for place in range(layers):
        nodes.append(helper.make_node("MatMul", [f"x{place}", f"w{place}"], [f"x{place + 1}"]))
        weight = pruned(side, side, seed=place).numpy()
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(weight), f"w{place}"))
    ends = [helper.make_tensor_value_info(name, 1, ["n", side]) for name in ("x0", f"x{layers}")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path
