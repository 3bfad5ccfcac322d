"""What a graph computes from its constants alone, worked out within bounds.

NOTES
-----
One node at a time, each in onnxruntime with its inputs known: so the size of what it gives is known before it
runs, and no Expand, Tile, Range or ConstantOfShape takes more memory than the weights it starts from warrant.
Nodes with subgraphs (loops), random ones and those of other domains are never run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...formats.base import Array
from ...runtime import stock
from ..files import held
from .domain import MAIN_DOMAINS
from .walk import attribute, subgraphs

#: A result may have this many bytes, or this many times those of the constants that it is computed from.
MIN_BYTES = 1 << 20
MAX_GROWTH = 4
#: Multiply-adds of one node: what a core does in about a second.
MAX_WORK = 1 << 35
#: Nodes on the way from the constants to one value.
MAX_NODES = 256
#: Constants of at most this many values are told to the shape inference.
_SMALL = 4096

#: Results that hang on chance, on state or on what is no tensor.
_NEVER = (
    *("Random", "Multinomial", "Bernoulli", "Dropout", "Loop", "If", "Scan", "Optional", "Sequence"),
    *("SplitToSequence", "ConcatFromSequence", "String", "TfIdfVectorizer", "RegexFullMatch", "ImageDecoder"),
    *("LSTM", "GRU", "RNN", "NonMaxSuppression", "Constant"),
)
#: Work beyond one step for each value that is read or given.
_HEAVY = ("MatMul", "Gemm", "Einsum", "Conv", "Attention", "Det", "DFT", "STFT")
#: Results that are at most this many times the largest input, where shape inference cannot say.
_BOUNDED = {"NonZero": 8, "Compress": 1, "Unique": 1}


def computable(node: onnx.NodeProto) -> bool:
    """Whether a node gives the same tensors for the same tensors, as far as its operator tells."""
    return (
        node.domain in MAIN_DOMAINS
        and (node.op_type == "ConstantOfShape" or not node.op_type.startswith(_NEVER))
        and len(node.input) > 0
        and not any(True for _ in subgraphs(node))
        and not any(item.ref_attr_name for item in node.attribute)
    )


class Evaluator:
    """Runs nodes on arrays; `imports` are the model's opsets."""

    def __init__(self, imports: Sequence[onnx.OperatorSetIdProto], ir_version: int) -> None:
        self.imports = [helper.make_opsetid(e.domain, e.version) for e in imports if e.domain in MAIN_DOMAINS]
        self.ir_version = ir_version

    def run(
        self, node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto | Array], base: int
    ) -> dict[str, Array] | None:
        """What a node gives, by name; None where that would take more than `base` bytes of weights warrant.

        Parameters
        ----------
        values
            Every input of the node.
        base
            Bytes of the constants that all of this is computed from.
        """
        names = list(dict.fromkeys(name for name in node.input if name))
        given = [_tensor(name, values[name]) for name in names]
        outputs = [name for name in node.output if name]
        shapes = self._shapes(node, given, outputs)
        if shapes is None or sum(shapes) * 4 > max(MIN_BYTES, MAX_GROWTH * base):
            return None
        if node.op_type.startswith(_HEAVY) and _work(node, given, max(shapes, default=0)) > MAX_WORK:
            return None
        graph = helper.make_graph(
            [node], "step", [], [helper.make_empty_tensor_value_info(name) for name in outputs], given
        )
        return self._executed(graph, outputs)

    def _shapes(
        self, node: onnx.NodeProto, given: Sequence[onnx.TensorProto], outputs: Sequence[str]
    ) -> list[int] | None:
        """Values in each output, or None where they cannot be told beforehand."""
        small = [tensor for tensor in given if math.prod(tensor.dims) <= _SMALL]
        large = [tensor for tensor in given if math.prod(tensor.dims) > _SMALL]
        inputs = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in large]
        results = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph([node], "step", inputs, results, small)
        model = helper.make_model(graph, opset_imports=self.imports, ir_version=self.ir_version)
        try:
            found = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except Exception:  # the node is wrong, or unknown to onnx: it stays as it is
            return None
        sizes = []
        for value in found.graph.output:
            dims = value.type.tensor_type.shape.dim
            if not value.type.HasField("tensor_type"):
                return None
            if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
                sizes.append(math.prod(dim.dim_value for dim in dims))
            elif node.op_type in _BOUNDED:
                largest = max((math.prod(tensor.dims) for tensor in given), default=0)
                sizes.append(_BOUNDED[node.op_type] * largest)
            else:
                return None
        return sizes

    def _executed(self, graph: onnx.GraphProto, outputs: Sequence[str]) -> dict[str, Array] | None:
        model = helper.make_model(graph, opset_imports=self.imports, ir_version=self.ir_version)
        try:
            session = stock.Session(model.SerializeToString(), threads=1, optimize=False)
            results = session.run({})
        except (stock.LoadError, stock.RunError):  # no kernel for these types, an index out of range
            return None
        if not all(isinstance(result, np.ndarray) for result in results):
            return None
        return dict(zip(outputs, results, strict=True))


def _tensor(name: str, value: onnx.TensorProto | Array) -> onnx.TensorProto:
    if isinstance(value, onnx.TensorProto):
        return held.whole(value)
    return numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)


def _work(node: onnx.NodeProto, given: Sequence[onnx.TensorProto], largest: int) -> int:
    """Multiply-adds of a node, no less than it takes; `largest` is the size of its largest output."""
    by_name = {tensor.name: list(tensor.dims) for tensor in given}
    shapes = [by_name[name] for name in node.input if name]
    if node.op_type in ("MatMul", "MatMulInteger", "Gemm"):
        return largest * max(shapes[0], default=1)
    if node.op_type != "Einsum":
        return int(largest * min(math.prod(shape) for shape in shapes[:2]))
    equation = attribute(node, "equation", b"")
    assert isinstance(equation, bytes)
    letters: dict[str, int] = {}
    for term, shape in zip(equation.decode().partition("->")[0].split(","), shapes, strict=False):
        letters |= dict(zip(term.replace(" ", ""), shape, strict=False))
    return MAX_WORK + 1 if b"." in equation else int(math.prod(letters.values()))
