"""Pruned nets that are more than convolutions: how small their files get, and whether outputs agree.

``python benchmarks/every_net.py [--only LSTM]``. Every net has 90 % of each large weight zero, at random, and
is exported without an option. Beside the dense file stand the bytes of its weights in the formats that were
chosen, and by how much the file exceeds them; stock onnxruntime runs both files on the same input. Writes
results/every-net.json; with ``--only`` nothing. Nothing is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import sparse_export
from sparse_export.exporter.nets import torchvision
from sparse_export.measure.peer_int8 import make_int8
from sparse_export.measure.silence import silence
from sparse_export.runtime.stock import Session

ZEROS = 0.9
FEW = 1024  # bytes: what is below stays dense
Net = Callable[[Path], tuple[int, ...]]


class Tagger(nn.Module):
    """Embedding, two layers of LSTM in both directions, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(10_000, 128), nn.Linear(512, 50)
        self.lstm = nn.LSTM(128, 256, 2, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.lstm(self.table(x))[0])
        return y


class Classifier(nn.Module):
    """The mean of the words' embeddings, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30_000, 256)
        self.layers = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 20))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(self.table(x).mean(1))
        return y


class Encoder(nn.Module):
    """Four layers of self-attention under an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10_000, 256)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(self.table(x))
        return y


class UNet(nn.Module):
    """Down twice by strides, up twice by ConvTranspose, with skips."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        conv = nn.Conv2d if axes == 2 else nn.Conv3d
        up = nn.ConvTranspose2d if axes == 2 else nn.ConvTranspose3d
        self.first, self.last = conv(3, 32, 3, padding=1), conv(64, 4, 3, padding=1)
        self.down = nn.ModuleList([conv(32, 64, 3, 2, 1), conv(64, 128, 3, 2, 1)])
        self.up = nn.ModuleList([up(128, 64, 2, 2), up(128, 32, 2, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.first(x).relu()
        b = self.down[0](a).relu()
        c = self.up[0](self.down[1](b).relu())
        y: torch.Tensor = self.last(torch.cat([self.up[1](torch.cat([c, b], 1)), a], 1))
        return y


def prune(module: nn.Module) -> nn.Module:
    """The module with that share of each of its matrices and kernels zero."""
    rng = torch.Generator().manual_seed(0)
    for tensor in module.parameters():
        if tensor.ndim > 1 and tensor.numel() * 4 >= FEW:
            tensor.data[torch.rand(tensor.shape, generator=rng) < ZEROS] = 0
    return module.eval()


def of_torch(
    make: Callable[[], nn.Module], shape: tuple[int, ...], words: bool = False, half: bool = False
) -> Net:
    """A net by torch's exporter, its input words or numbers."""

    def write(path: Path) -> tuple[int, ...]:
        torch.manual_seed(0)
        net, x = prune(make()), torch.zeros(shape, dtype=torch.int64 if words else torch.float32)
        if half:
            net, x = net.half(), x.half()
        torch.onnx.export(net, (x,), str(path), dynamo=False, opset_version=17)
        return shape

    return write


def resnet18() -> nn.Module:
    net: nn.Module = torchvision.build("resnet18")
    return net


def quantized(path: Path) -> tuple[int, ...]:
    """ResNet-18 as onnxruntime quantizes it: QDQ, INT8, a scale for each channel."""
    dense = path.with_suffix(".float.onnx")
    shape = of_torch(resnet18, (1, 3, 224, 224))(dense)
    with silence():
        make_int8(dense, path, 0, None)
    return shape


def old_opset(path: Path) -> tuple[int, ...]:
    """Opset 11: auto_pad, and weights in the branches of an If."""
    rng = np.random.default_rng(0)

    def kernel(name: str) -> onnx.TensorProto:
        return numpy_helper.from_array(common.pruned(rng, (256, 256, 3, 3), 1 - ZEROS), name)

    def branch(name: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}y", TensorProto.FLOAT, None)
        reads, gives = ["r", f"{name}w"], [f"{name}y"]
        layer = helper.make_node("Conv", reads, gives, auto_pad="SAME_UPPER", strides=[2, 2])
        return helper.make_graph([layer], name, [], [out], [kernel(f"{name}w")])

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["r"], auto_pad="SAME_LOWER"),
        helper.make_node("ReduceMean", ["r"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "nought"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e")),
    ]
    shape = (1, 256, 14, 14)
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    ends += [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    held = [kernel("w"), numpy_helper.from_array(np.array(0, np.float32), "nought")]
    graph = helper.make_graph(nodes, "old", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)
    return shape


NETS: dict[str, Net] = {
    "LSTM tagger": of_torch(Tagger, (1, 32), words=True),
    "text classifier": of_torch(Classifier, (1, 64), words=True),
    "Transformer encoder": of_torch(Encoder, (1, 32), words=True),
    "U-Net, ConvTranspose": of_torch(lambda: UNet(2), (1, 3, 64, 64)),
    "3-D U-Net": of_torch(lambda: UNet(3), (1, 3, 16, 16, 16)),
    "ResNet-18, float16": of_torch(resnet18, (1, 3, 224, 224), half=True),
    "opset 11, auto_pad, If": old_opset,
    "ResNet-18, QDQ INT8": quantized,
}


def difference(dense: Path, packed: Path, shape: tuple[int, ...]) -> float:
    """Largest difference of the outputs in stock onnxruntime, over the largest output; 0: the same bits."""
    sessions = [Session(path, threads=1) for path in (dense, packed)]
    spec = sessions[0].inputs[0]
    rng = np.random.default_rng(0)
    dtype = np.dtype(spec.dtype)
    x = (rng.integers(0, 1000, shape) if dtype.kind == "i" else rng.standard_normal(shape)).astype(dtype)
    wanted, got = (session.run({spec.name: x})[0] for session in sessions)
    if wanted.tobytes() == got.tobytes():
        return 0.0
    gap = np.abs(wanted.astype(np.float64) - got.astype(np.float64)).max()
    return float(gap / np.abs(wanted.astype(np.float64)).max())


def run(name: str) -> dict[str, Any]:
    """One line of the table."""
    common.MODELS.mkdir(parents=True, exist_ok=True)
    dense = common.MODELS / f"every {name}.onnx".replace(" ", "-").replace(",", "")
    shape, packed = NETS[name](dense), dense.with_suffix(".packed.onnx")
    report = sparse_export.export(dense, output=packed, verify=False, force=True)
    left = [row for row in report.layers if row["format"] == "dense" and row["dense_bytes"] >= FEW]
    row: dict[str, Any] = {"net": name, "dense": dense.stat().st_size, "file": packed.stat().st_size}
    row |= {"formats": report.packed_bytes, "over": row["file"] - report.packed_bytes}
    row |= {"left_dense": len(left), "unexplained": sum(not one["reason"] for one in left)}
    row["holds"] = row["file"] <= 1.03 * row["formats"] + 20_000
    row["difference"] = difference(dense, packed, shape)
    verdict = "holds" if row["holds"] else "MISSED"
    parts = [
        f"{name:24s} dense {row['dense']:11,} B  file {row['file']:10,} B",
        f"{row['dense'] / row['file']:5.2f}x",
        f"formats {row['formats']:10,} B  over {row['over']:7,} B: {verdict}",
        f"dense weights left {row['left_dense']}, without a reason {row['unexplained']}",
        f"difference {row['difference']:.1e}",
    ]
    print("  ".join(parts), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="nets whose name holds this")
    arguments = parser.parse_args()
    rows = [run(name) for name in NETS if arguments.only in name]
    if not arguments.only:
        common.save("every-net", rows)


if __name__ == "__main__":
    main()
