"""What a net needs at least while it runs: the bytes of its activations that are alive at one time.

Taken from the graph as onnxruntime optimizes it, node by node in its order: a value lives from the node that
gives it to the last one that reads it; inputs and outputs of the model are values too. Nothing that an
operator needs for itself (transformed weights, columns of a convolution) is counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from sparse_export.runtime.inputs import normal
from sparse_export.runtime.stock import Session


def activation_bytes(path: Path, shape: Sequence[int]) -> int:
    """The most bytes of activations at one time in a run with an input of this shape."""
    with tempfile.TemporaryDirectory(prefix="sparse-export-bench-") as folder:
        optimized = Path(folder) / "optimized.onnx"
        Session(path, threads=1, written=optimized)
        model = onnx.load(optimized)
    graph = model.graph
    (given,) = graph.input
    made = [name for node in graph.node for name in node.output if name]
    kept = {value.name for value in graph.output}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in kept)
    x = normal("x", tuple(shape))["x"]
    session = Session(model.SerializeToString(), threads=1, optimize=False)
    names = [name for name, _, _ in session.outputs]
    values = session.run({given.name: x})
    size = {name: np.asarray(value).nbytes for name, value in zip(names, values, strict=True)}
    size[given.name] = x.nbytes
    last = {name: place for place, node in enumerate(graph.node) for name in node.input}
    alive, most = {given.name}, 0
    for place, node in enumerate(graph.node):
        alive.update(name for name in node.output if name)
        most = max(most, sum(size[name] for name in alive))
        alive = {name for name in alive if name in kept or last.get(name, -1) > place}
    return most


def empty_model(target: Path, shape: Sequence[int]) -> Path:
    """A model that gives back its input: what a session takes that holds nothing."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), target)
    return target
