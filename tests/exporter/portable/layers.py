"""Dense models of one layer whose weight a given format holds best, and where its portable file runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

import sparse_export
from sparse_export import formats
from sparse_export.exporter.report.report import Report
from sparse_export.formats.base import Array

FORMATS = [fmt.name for fmt in formats.packable()]
SIZE = 64
#: Layer -> its node, the axes of its weight in the order of outputs first, and the shape of its input.
LAYERS = {
    "Conv": (helper.make_node("Conv", ["X", "W"], ["Y"], pads=[1] * 4), (0, 1, 2, 3), [SIZE, 9, 9]),
    "Gemm": (helper.make_node("Gemm", ["X", "W"], ["Y"], transB=1), (0, 1), [SIZE]),
    "MatMul": (helper.make_node("MatMul", ["X", "W"], ["Y"]), (1, 0), [SIZE]),
}


def weight_for(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A weight, outputs first, with the pattern that the format is for."""
    rows = (shape[0], *[1] * (len(shape) - 1))
    weight = rng.standard_normal(shape).astype(np.float32)
    kept = rng.random(shape) < 0.1
    if name in {"bitpack", "ternary", "signmask", "signgaps"}:
        weight = np.sign(weight) * rng.uniform(0.5, 2, rows).astype(np.float32)
        kept = rng.random(shape) < {"bitpack": 1, "signgaps": 0.1}.get(name, 0.5)
    elif name in {"palette", "codebook"}:
        weight = rng.choice(rng.standard_normal(9).astype(np.float32), shape)
        kept = rng.random(shape) < (0.1 if name == "palette" else 1)
    elif name == "nm":
        kept = np.zeros(shape, bool)
        kept[:, ::2] = True
    elif name == "bsr":
        kept = np.broadcast_to(np.arange(shape[0]).reshape(rows) // 4 % 5 == 0, shape)
    return np.where(kept, weight, np.float32(0))


def source_of(name: str, layers: Iterable[str], rng: np.random.Generator) -> onnx.ModelProto:
    """The dense model of these layers side by side, the batch open: X of each, its weight, Y of each."""
    graph = onnx.GraphProto(name="g")
    for layer in layers:
        node, axes, x = LAYERS[layer]
        weight = weight_for(name, (SIZE, SIZE, 3, 3)[: len(axes)], rng).transpose(axes)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight), f"W {layer}"))
        graph.input.append(helper.make_tensor_value_info(f"X {layer}", 1, ["N", *x]))
        graph.output.append(helper.make_tensor_value_info(f"Y {layer}", 1, ["N", *x]))
        twin = graph.node.add()
        twin.CopyFrom(node)
        twin.input[:] = [f"X {layer}", f"W {layer}"]
        twin.output[:] = [f"Y {layer}"]
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def inputs_of(layers: Iterable[str], rng: np.random.Generator) -> dict[str, Array]:
    """What that model takes, a batch of three."""
    return {f"X {one}": rng.standard_normal((3, *LAYERS[one][2])).astype(np.float32) for one in layers}


def exported(model: onnx.ModelProto, folder: Path, name: str = "auto") -> tuple[Path, Path, Report]:
    """The model's file, its portable one, and the report."""
    source, target = folder / "dense.onnx", folder / "portable.onnx"
    onnx.save(model, source)
    report = sparse_export.export(source, format=name, output=target, portable=True, force=True)
    return source, target, report
