"""The weights of an ONNX model's layers, to be read and replaced; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from ..errors import InputError
from ..exporter.files.onnx_read import read_onnx
from ..exporter.files.onnx_write import save
from ..exporter.graph.domain import MAIN_DOMAINS
from ..formats.base import Array
from . import targets

#: Operator -> the kind of its weights, and the inputs that they are.
_INPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "Conv": ("conv", (1,)),
    "ConvTranspose": ("convtranspose", (1,)),
    "Gemm": ("linear", (1, 0)),
    "MatMul": ("linear", (1, 0)),
    "LSTM": ("rnn", (1, 2)),
    "GRU": ("rnn", (1, 2)),
    "RNN": ("rnn", (1, 2)),
    "Gather": ("embedding", (0,)),
}
#: Operators between a weight and its layer that change no value.
_THROUGH = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast")
_FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
)


@dataclass
class Place:
    """Where a weight is, and how it lies.

    Attributes
    ----------
    inputs_first
        Whether its first dimension runs over the layer's inputs, as in MatMul(X, W).
    """

    tensor: onnx.TensorProto
    kind: str
    array: Array
    inputs_first: bool

    def outputs_first(self) -> torch.Tensor:
        """The weight as float32, its outputs along the first dimension."""
        array = self.array.astype(np.float32)
        if self.kind == "rnn":  # directions and gates are rows alike
            array = array.reshape(-1, array.shape[-1])
        if self.inputs_first:
            array = np.swapaxes(array, -1, -2)
        return torch.from_numpy(np.ascontiguousarray(array))

    def put(self, weight: torch.Tensor) -> None:
        """Replace the values, in the weight's own shape and dtype; those that stay are kept bit for bit."""
        array = weight.numpy()
        if self.inputs_first:
            array = np.swapaxes(array, -1, -2)
        array = array.reshape(self.array.shape)
        same = array == self.array.astype(np.float32)
        self.array = np.ascontiguousarray(np.where(same, self.array, array.astype(self.array.dtype)))
        changed = numpy_helper.from_array(self.array, self.tensor.name)
        self.tensor.CopyFrom(changed)


class OnnxFile:
    """An ONNX model opened for changing its weights.

    Raises
    ------
    InputError
        If the file is no ONNX model.
    """

    label = "onnx"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = read_onnx(path)
        self.places: dict[str, Place] = {}
        for place in _places(self.model.graph, {}):
            self.places.setdefault(_name(place.tensor), place)

    def weights(self, layers: Iterable[str], kinds: Iterable[str]) -> dict[str, torch.Tensor]:
        """Initializer name -> weight, outputs first."""
        if not self.places:
            raise InputError(f"{self.path}: no layer with constant float weights")
        found = {name: (place.kind, place.outputs_first()) for name, place in self.places.items()}
        return targets.chosen(found, layers, kinds)

    def put(self, name: str, weight: torch.Tensor) -> None:
        """Replace a weight."""
        self.places[name].put(weight)

    def write(self, output: Path, force: bool) -> None:
        """Write the model; weights go to a data file where they pass 2 GiB."""
        save(self.model, output, force=force, sources=[self.path])


def _name(tensor: onnx.TensorProto) -> str:
    return str(tensor.name)


def _places(graph: onnx.GraphProto, outer: dict[str, Any]) -> Iterator[Place]:
    """Every weight of a layer in the graph and its subgraphs, in the order of the layers."""
    scope = outer | {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        scope |= dict.fromkeys(node.output, node)
    for node in graph.node:
        kind, inputs = _INPUTS.get(node.op_type, ("", ())) if node.domain in MAIN_DOMAINS else ("", ())
        for position in inputs:
            if position < len(node.input) and (place := _place(node, position, kind, scope)):
                yield place
                if kind == "linear":
                    break
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _places(inner, scope)


def _place(node: onnx.NodeProto, position: int, kind: str, scope: dict[str, Any]) -> Place | None:
    """The weight that the input is, where it is one."""
    turned = False
    name, found = node.input[position], None
    for _ in range(8):
        found = scope.get(name)
        if not isinstance(found, onnx.NodeProto) or found.op_type not in _THROUGH or not found.input:
            break
        if found.op_type == "Transpose":
            turned = not turned
        name = found.input[0]
    if isinstance(found, onnx.NodeProto):
        found = _constant(found)
    if found is None or found.data_type not in _FLOATS or len(found.dims) < 2:
        return None
    array = numpy_helper.to_array(found)
    if node.op_type == "Gemm":
        flag = next((a.i for a in node.attribute if a.name == ("transB", "transA")[position == 0]), 0)
        first = (not flag) if position == 1 else bool(flag)
    else:
        first = node.op_type == "MatMul" and position == 1
    return Place(found, kind, array, first != turned if array.ndim == 2 else first)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node, under the name of its output."""
    if node.op_type != "Constant":
        return None
    tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
    if tensor is not None and not tensor.name:
        tensor.name = node.output[0]
    return tensor
