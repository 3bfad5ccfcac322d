"""Models of one packed MatMul and an operator behind it, in the opsets that spelled the operator anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...onnx_models import pruned

#: What the operator reads: "h" of this shape, the product of X and a sparse weight.
SHAPE = (2, 4, 8, 64)
Build = Callable[[int, dict[str, np.ndarray]], list[onnx.NodeProto]]
node = helper.make_node


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def value(name: str, shape: Any = None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def build(case: Build, opset: int) -> onnx.ModelProto:
    """X -> MatMul -> h -> the case's nodes -> Y."""
    rng = np.random.default_rng(opset)
    constants = {"w": pruned(rng, 64, 64)}
    nodes = [node("MatMul", ["X", "w"], ["h"]), *case(opset, constants)]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", [value("X", list(SHAPE))], [value("Y")], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def plain(op: str, **attributes: Any) -> Build:
    """An operator of one input whose spelling never changed."""
    return lambda opset, constants: [node(op, ["h"], ["Y"], **attributes)]


def back_to_float(op: str, **attributes: Any) -> Build:
    """An operator that gives another element type."""
    return lambda opset, constants: [
        node(op, ["h"], ["other"], **attributes),
        node("Cast", ["other"], ["Y"], to=TensorProto.FLOAT),
    ]


def attribute_or_input(op: str, since: int, **given: Any) -> Build:
    """An operator whose attributes, in this order, became inputs in opset `since`."""

    def case(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
        if opset < since:
            return [node(op, ["h"], ["Y"], **given)]
        for name, wanted in given.items():
            constants[name] = np.array(wanted, np.float32 if isinstance(wanted, float) else np.int64)
        return [node(op, ["h", *given], ["Y"])]

    return case


def top_k(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    if opset < 10:
        return [node("TopK", ["h"], ["Y", "places"], k=5)]
    constants["k"] = ints(5)
    return [node("TopK", ["h", "k"], ["Y", "places"])]


def split(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    nodes = [node("Split", ["h"], ["a", "b"], axis=2, **({"num_outputs": 2} if opset >= 18 else {}))]
    sizes = [16, 48]
    if opset < 13:
        nodes.append(node("Split", ["a"], ["c", "d"], axis=3, split=sizes))
    else:
        constants["sizes"] = ints(*sizes)
        nodes.append(node("Split", ["a", "sizes"], ["c", "d"], axis=3))
    return [*nodes, node("Concat", ["d", "c"], ["e"], axis=3), node("Sub", ["e", "b"], ["Y"])]


def resample(op: str, mode: str, *scales: float) -> Build:
    """Upsample, or Resize in the form of opset 10."""

    def case(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
        if opset < 9:
            return [node(op, ["h"], ["Y"], mode=mode, scales=[float(scale) for scale in scales])]
        constants["scales"] = np.array(scales, np.float32)
        return [node(op, ["h", "scales"], ["Y"], mode=mode)]

    return case


def resize(mode: str, where: str, **attributes: Any) -> Build:
    """Resize from opset 11 on."""

    def case(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
        constants["scales"] = np.array([1, 1, 1.5, 0.75], np.float32)
        constants["roi"] = np.zeros(0, np.float32)
        inputs = ["h", "roi" if opset < 13 else "", "scales"]
        return [node("Resize", inputs, ["Y"], mode=mode, coordinate_transformation_mode=where, **attributes)]

    return case


def batch_norm(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    rng = np.random.default_rng(0)
    names = ["gamma", "beta", "mean", "variance"]
    constants |= {name: rng.uniform(0.5, 1.5, 4).astype(np.float32) for name in names}
    spatial = {"spatial": 1} if opset < 9 else {}
    return [node("BatchNormalization", ["h", *names], ["Y"], **spatial)]


def scatter(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    constants["places"] = ints(3, 0).reshape(2, 1, 1, 1)
    constants["updates"] = np.array([7, 8], np.float32).reshape(2, 1, 1, 1)
    op = "Scatter" if opset < 11 else "ScatterElements"
    return [node(op, ["h", "places", "updates"], ["Y"], axis=1)]


def roi_align(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    constants |= {"rois": np.array([[1, 1, 30, 6]], np.float32), "batch": ints(1)}
    return [node("RoiAlign", ["h", "rois", "batch"], ["Y"], output_height=3, output_width=5)]


def in_branch(inner: Build) -> Build:
    """The operator in both branches of an If, where converters forget it."""

    def case(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
        held: dict[str, np.ndarray] = {}
        branches = {}
        for name in ("then_branch", "else_branch"):
            nodes = inner(opset, held)
            nodes[-1].output[0] = f"{name}.Y"
            tensors = [numpy_helper.from_array(array, f"{name}.{key}") for key, array in held.items()]
            for item in nodes:
                item.input[:] = [f"{name}.{entry}" if entry in held else entry for entry in item.input]
            branches[name] = helper.make_graph(nodes, name, [], [value(f"{name}.Y")], tensors)
        constants["zero"] = np.zeros((), np.float32)
        keep = {"keepdims": 0}
        total = node("ReduceMax", ["h"], ["largest"], **keep)
        return [total, node("Greater", ["largest", "zero"], ["c"]), node("If", ["c"], ["Y"], **branches)]

    return case


def with_constant(op: str, name: str, array: np.ndarray, **attributes: Any) -> Build:
    def case(opset: int, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
        constants[name] = array
        return [node(op, ["h", name], ["Y"], **attributes)]

    return case


REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceSumSquare")
_ANY = np.linspace(-1, 1, 64, dtype=np.float32)
#: Name to (what to build, opsets to build it in).
CASES: dict[str, tuple[Build, tuple[int, ...]]] = {
    "Upsample nearest": (resample("Upsample", "nearest", 1, 1, 2, 3), (7, 9)),
    "Upsample linear": (resample("Upsample", "linear", 1, 1, 2, 1.5), (7, 9)),
    "Resize up nearest": (resample("Resize", "nearest", 1, 1, 2, 1.7), (10,)),
    "Resize down nearest": (resample("Resize", "nearest", 1, 1, 0.4, 0.6), (10,)),
    "Resize both ways nearest": (resample("Resize", "nearest", 1, 1, 2.5, 0.6), (10,)),
    "Resize linear": (resample("Resize", "linear", 1, 1, 2, 0.5), (10,)),
    "Resize half_pixel": (resize("linear", "half_pixel"), (11, 13, 18, 19)),
    "Resize align_corners": (resize("linear", "align_corners"), (11, 17)),
    "Resize cubic": (resize("cubic", "asymmetric"), (12,)),
    "Resize nearest": (resize("nearest", "half_pixel", nearest_mode="ceil"), (11, 13)),
    "Softmax": (plain("Softmax"), (7, 11, 13)),
    "Softmax axis 2": (plain("Softmax", axis=2), (7, 12, 13)),
    "Softmax axis 3": (plain("Softmax", axis=3), (7, 12)),
    "LogSoftmax": (plain("LogSoftmax"), (8, 12, 13)),
    "LogSoftmax axis -2": (plain("LogSoftmax", axis=-2), (11, 13)),
    "Hardmax": (plain("Hardmax"), (7, 11, 13)),
    "Hardmax axis 0": (plain("Hardmax", axis=0), (9,)),
    "Softmax in a branch": (in_branch(plain("Softmax", axis=1)), (11, 13)),
    "Clip": (attribute_or_input("Clip", 11, min=-0.5, max=0.5), (7, 11, 13)),
    "Clip in a branch": (in_branch(attribute_or_input("Clip", 11, min=-0.5, max=0.5)), (10,)),
    "Pad": (attribute_or_input("Pad", 11, pads=[0, 1, 2, 0, 0, 0, 1, 3], value=1.5), (7, 11, 13)),
    "Slice": (attribute_or_input("Slice", 10, starts=[1, 3], ends=[2, -1], axes=[1, 3]), (7, 10, 13)),
    "Squeeze and Unsqueeze": (attribute_or_input("Unsqueeze", 13, axes=[0, 3]), (7, 11, 13)),
    "ReduceSum": (attribute_or_input("ReduceSum", 13, axes=[1, 3]), (7, 11, 13)),
    **{name: (attribute_or_input(name, 18, axes=[1, 2]), (7, 13)) for name in REDUCTIONS},
    "ReduceMean of all": (plain("ReduceMean"), (7, 13, 18)),
    "ReduceMean in a branch": (in_branch(attribute_or_input("ReduceMean", 18, axes=[1])), (11,)),
    "TopK": (top_k, (7, 10, 11)),
    "Split": (split, (7, 11, 13, 18)),
    "Dropout": (plain("Dropout"), (7, 10, 12)),
    "Dropout with a ratio": (plain("Dropout", ratio=0.3), (7, 10)),
    "BatchNormalization": (batch_norm, (7, 9, 14, 15)),
    "Scatter": (scatter, (9, 11, 16)),
    "RoiAlign": (roi_align, (10, 16)),
    "MaxPool": (plain("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), (7, 8, 10, 12)),
    "AveragePool": (plain("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), (7, 10, 11, 19)),
    "Flatten": (plain("Flatten", axis=2), (7, 9, 11)),
    "ArgMax": (back_to_float("ArgMax", axis=1), (7, 11, 12)),
    "DepthToSpace": (plain("DepthToSpace", blocksize=2), (7, 11)),
    "PRelu": (with_constant("PRelu", "slope", np.full((1, 1, 64), 0.3, np.float32)), (7, 9, 16)),
    "Gather": (with_constant("Gather", "places", ints(3, 0, 2), axis=1), (7, 11, 13)),
    "Max": (with_constant("Max", "other", _ANY), (8, 12)),
    "Cast": (back_to_float("Cast", to=TensorProto.DOUBLE), (7, 9, 19)),
    "LRN": (plain("LRN", size=3), (7, 13)),
    "Gelu": (plain("Gelu"), (20, 22)),
    "Relu": (plain("Relu"), (7, 14, 21, 23, 24, 25, 26)),
}


def pairs() -> list[tuple[str, int]]:
    """Every (case, opset)."""
    return [(name, opset) for name, (_, opsets) in CASES.items() for opset in opsets]
