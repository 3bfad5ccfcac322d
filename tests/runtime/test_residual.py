"""A residual whose memory the output may take over gives the same sums, however else the residual is used."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sparse_export.runtime.session import InferenceSession, library_path

from .binary_builder import BinaryCase, signs
from .builder import Array, Case, sparse_weight

SHAPE = (2, 8, 9, 9)
FAMILIES = ("Sparse", "BinaryWeight", "Xnor")
# Inputs of each layer; the last result is an output, and so is every name in the second part. A layer
# follows the one with the residual: onnxruntime puts no output of the model where something else has been.
WIRINGS: dict[str, tuple[dict[str, tuple[str, ...]], tuple[str, ...]]] = {
    "used here for the last time": ({"a": ("x",), "b": ("x",), "c": ("a", "b"), "e": ("c",)}, ()),
    "an output too": ({"a": ("x",), "b": ("x",), "c": ("a", "b"), "e": ("c",)}, ("b",)),
    "used again later": ({"a": ("x",), "c": ("a", "a"), "d": ("c", "a"), "e": ("d",)}, ()),
    "the input itself": ({"a": ("x",), "c": ("a", "x"), "e": ("c",)}, ()),
    "convolved as well": ({"a": ("x",), "c": ("a", "a"), "e": ("c",)}, ()),
}


def layer(name: str, inputs: tuple[str, ...], family: str) -> Case:
    """A 3 x 3 convolution with weights of its own; with a residual where it has two inputs."""
    rng = np.random.default_rng(ord(name))
    suffix = "AddRelu" if len(inputs) == 2 else ""
    if family == "Sparse":
        return Case(sparse_weight(rng, (8, 8, 3, 3), 0.3), suffix, pads=(1, 1, 1, 1))
    weight = signs(rng.standard_normal((8, 8, 3, 3)))
    return BinaryCase(weight, suffix, pads=(1, 1, 1, 1), xnor=family == "Xnor")


def net(wiring: dict[str, tuple[str, ...]], outputs: tuple[str, ...], family: str) -> onnx.ModelProto:
    """The layers as one model whose shapes are known, so that memory can be planned."""
    nodes, inits = [], []
    for name, inputs in wiring.items():
        alone = layer(name, inputs, family).model()
        node = alone.graph.node[0]
        renamed = {"x": inputs[0], "z": inputs[-1], "y": name}
        renamed |= {init.name: f"{name}_{init.name}" for init in alone.graph.initializer}
        node.input[:] = [renamed[old] for old in node.input]
        node.output[:] = [name]
        for init in alone.graph.initializer:
            init.name = renamed[init.name]
            inits.append(init)
        nodes.append(node)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in outputs],
        inits,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("sparse_export", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def check(use: str, family: str, threads: int) -> None:
    """The net against its layers one by one, whose residual is an input of the session and stays."""
    wiring, more = WIRINGS[use]
    outputs = (*more, list(wiring)[-1])
    values: dict[str, Array] = {"x": np.random.default_rng(7).standard_normal(SHAPE).astype(np.float32)}
    for name, inputs in wiring.items():
        alone = InferenceSession(layer(name, inputs, family).model().SerializeToString(), threads=threads)
        feeds = dict(zip(("x", "z"), (values[source] for source in inputs), strict=False))
        values[name] = alone.run(None, feeds)[0]
    session = InferenceSession(net(wiring, outputs, family).SerializeToString(), threads=threads)
    for _ in range(2):
        for name, y in zip(outputs, session.run(None, {"x": values["x"]}), strict=True):
            np.testing.assert_allclose(y, values[name], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("use", WIRINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_residual(use: str, family: str) -> None:
    for threads in (1, 2):
        check(use, family, threads)


@pytest.mark.parametrize("target", ["reference", "scalar", "avx2"])
def test_residual_on_other_targets(target: str) -> None:
    variables = {"SPARSE_EXPORT_TARGET": target, "SPARSE_EXPORT_LIBRARY": str(library_path())}
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.test_residual"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    if "this CPU lacks it" in done.stderr:
        pytest.skip(f"this CPU has no {target}")
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    for use in WIRINGS:
        for family in FAMILIES:
            check(use, family, 1)
