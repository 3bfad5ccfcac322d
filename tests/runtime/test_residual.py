"""A residual whose memory the output may take over gives the same sums, however else the residual is used."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sparse_export.runtime.session import InferenceSession

from .builder import Array, Case, check_close, pack, sparse_weight, tensor

SHAPE = (2, 8, 9, 9)


def layer(seed: int, suffix: str = "") -> Case:
    weight = sparse_weight(np.random.default_rng(seed), (8, 8, 3, 3), 0.3)
    return Case(weight, suffix, pads=(1, 1, 1, 1))


def net(wiring: dict[str, tuple[str, ...]], outputs: tuple[str, ...]) -> onnx.ModelProto:
    """Layers a, b (plain) and c (with residual); `wiring`: the inputs of each. Shapes are known."""
    nodes, inits = [], []
    for name, inputs in wiring.items():
        case = layer(ord(name), "AddRelu" if len(inputs) == 2 else "")
        parts = pack(case.weight) | {"scale": case.scale, "bias": case.bias}
        inits += [tensor(f"{name}_{part}", array) for part, array in parts.items()]
        names = [inputs[0], *(f"{name}_{part}" for part in parts), *inputs[1:]]
        nodes.append(
            helper.make_node(
                f"SparseConv{case.suffix}", names, [name], domain="sparse_export", **case.attributes()
            )
        )
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in outputs],
        inits,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("sparse_export", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


WIRINGS: dict[str, tuple[dict[str, tuple[str, ...]], tuple[str, ...]]] = {
    "used here for the last time": ({"a": ("x",), "b": ("x",), "c": ("a", "b")}, ("c",)),
    "an output too": ({"a": ("x",), "b": ("x",), "c": ("a", "b")}, ("b", "c")),
    "used again later": ({"a": ("x",), "c": ("a", "a"), "d": ("c", "a")}, ("d",)),
    "the input itself": ({"a": ("x",), "c": ("a", "x")}, ("c",)),
    "convolved as well": ({"a": ("x",), "c": ("a", "a")}, ("c",)),
}


@pytest.mark.parametrize("use", WIRINGS)
@pytest.mark.parametrize("threads", [1, 2])
def test_residual(use: str, threads: int) -> None:
    wiring, outputs = WIRINGS[use]
    x = np.random.default_rng(7).standard_normal(SHAPE).astype(np.float32)
    session = InferenceSession(net(wiring, outputs).SerializeToString(), threads=threads)
    for _ in range(2):
        values: dict[str, Array] = {"x": x}
        bounds: dict[str, Array] = {}
        for name, inputs in wiring.items():
            case = layer(ord(name), "AddRelu" if len(inputs) == 2 else "")
            values[name], bounds[name] = case.reference(*(values[source] for source in inputs))
        for name, y in zip(outputs, session.run(None, {"x": x}), strict=True):
            # Errors of the layers before grow by at most the next layer's sum of |weight|: under 40 here.
            check_close(y, values[name], bounds[name] * 40, 72)
