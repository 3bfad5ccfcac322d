"""Latent float weights made binary on request, and binary weights that a graph computes on every run.

Latent weights (BinaryConnect, XNOR-Net) are trained in float and used through their sign.
`binarize_module` and `binarize_model` replace them by alpha * sign(W); nothing else in this package
changes a weight's sign or magnitude unasked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ...errors import InputError
from ...formats.base import Array
from .find import find
from .index import GraphIndex

ALPHAS = ("mean", "one")
Notes = list[tuple[str, str]]

#: Operators that a binary net may put between a latent weight and its layer.
_WEIGHT_OPS = (
    *("Abs", "Add", "Cast", "Clip", "Div", "Equal", "Expand", "Flatten", "Greater", "GreaterOrEqual"),
    *("Identity", "Less", "LessOrEqual", "Mul", "Neg", "Not", "ReduceMean", "Reshape", "Sign", "Sqrt"),
    *("Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"),
)


def binarize_array(weight: Array, alpha: str) -> Array:
    """alpha * sign(weight), of the same shape and dtype; zero counts as positive.

    Parameters
    ----------
    weight
        Outputs first.
    alpha
        "mean": mean |W| of each output channel (Rastegari et al., XNOR-Net, 2016); "one": 1.

    Raises
    ------
    InputError
        If a weight is not finite, or `alpha` is unknown.
    """
    if alpha not in ALPHAS:
        raise InputError(f"--binarize-alpha {alpha}: choose mean or one")
    if not np.isfinite(weight).all():
        raise InputError("cannot binarize: a weight is infinite or not a number")
    signs = np.where(weight >= 0, 1.0, -1.0)
    if alpha == "mean":
        axes = tuple(range(1, weight.ndim))
        signs *= np.abs(weight.astype(np.float64)).mean(axis=axes, keepdims=True)
    result: Array = signs.astype(weight.dtype)
    return result


def binarize_model(model: onnx.ModelProto, globs: Sequence[str], alpha: str) -> Notes:
    """Binarize the matching weights of Conv, Gemm and MatMul nodes in place; say which.

    Parameters
    ----------
    globs
        Patterns over weight names and over what comes before their last dot.

    Raises
    ------
    InputError
        If a pattern matches no weight.
    """
    index = GraphIndex(model)
    layers = {layer.weight: layer for layer in find(index)}
    chosen = _matching(layers, globs)
    for name in chosen:
        array = index.constant(name)
        assert array is not None
        outputs_first = array.T if layers[name].transposed else array
        binary = _named(name, outputs_first, alpha)
        tensor = index.initializers[name]
        restored = np.ascontiguousarray(binary.T if layers[name].transposed else binary)
        tensor.CopyFrom(numpy_helper.from_array(restored, name))
    return _notes(chosen, alpha)


def binarize_module(module: Any, globs: Sequence[str], alpha: str) -> Notes:
    """The same for the convolution and linear weights of a torch module, so that it stays the reference.

    Raises
    ------
    InputError
        If a pattern matches no weight.
    """
    import torch

    weights = {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.ndim >= 2 and parameter.is_floating_point() and not _not_outputs_first(module, name)
    }
    chosen = _matching(weights, globs)
    with torch.no_grad():
        for name in chosen:
            binary = _named(name, weights[name].detach().float().numpy(), alpha)
            weights[name].copy_(torch.from_numpy(binary))
    return _notes(chosen, alpha)


def _not_outputs_first(module: Any, name: str) -> bool:
    """Whether the parameter belongs to a module whose first axis is not the output channels."""
    import torch

    owner = dict(module.named_modules()).get(name.rpartition(".")[0])
    transposed = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
    return isinstance(owner, (*transposed, torch.nn.Embedding))


def _matching(names: Iterable[str], globs: Sequence[str]) -> list[str]:
    names = list(names)
    for glob in globs:
        if not any(_fits(name, glob) for name in names):
            raise InputError(
                f"--binarize {glob}: no weight has such a name; 'sparse-export inspect' lists them"
            )
    return [name for name in names if any(_fits(name, glob) for glob in globs)]


def _fits(name: str, glob: str) -> bool:
    return fnmatchcase(name, glob) or fnmatchcase(name.rpartition(".")[0], glob)


def _named(name: str, weight: Array, alpha: str) -> Array:
    try:
        return binarize_array(weight, alpha)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _notes(names: Sequence[str], alpha: str) -> Notes:
    what = "mean |W| of each output" if alpha == "mean" else "1"
    return [("warn", f"{name}: binarized on request, sign(W) times {what}") for name in names]


def lower_bipolar(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with QONNX's BipolarQuant (scale where x >= 0, else -scale) spelled in standard operators."""
    nodes = []
    for place, node in enumerate(model.graph.node):
        if node.op_type != "BipolarQuant" or not node.domain.startswith(("qonnx", "finn", "onnx.brevitas")):
            nodes.append(node)
            continue
        start = f"{node.output[0]}.bipolar{place}"
        zero = numpy_helper.from_array(np.zeros((), np.float32), f"{start}.zero")
        model.graph.initializer.append(zero)
        nodes.append(helper.make_node("GreaterOrEqual", [node.input[0], zero.name], [f"{start}.cond"]))
        initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        if node.input[1] in initializers:
            minus = -numpy_helper.to_array(initializers[node.input[1]])
            model.graph.initializer.append(numpy_helper.from_array(minus, f"{start}.minus"))
        else:
            nodes.append(helper.make_node("Neg", [node.input[1]], [f"{start}.minus"]))
        where = [f"{start}.cond", node.input[1], f"{start}.minus"]
        nodes.append(helper.make_node("Where", where, [node.output[0]], name=node.name))
    if len(nodes) != len(model.graph.node):
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(kept)
    return model


def fold_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the weights that it computes from initializers alone as initializers."""
    index = GraphIndex(model)
    done: set[str] = set()
    for node in index.nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.domain or len(node.input) < 2:
            continue
        name = node.input[1]
        steps = list(_computed(index, name)) if name in index.makers and name not in done else []
        if not steps or any(step is None for step in steps):
            continue
        done.add(name)
        value = _evaluate(index, model, [step for step in steps if step is not None], name)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    if done:
        _remove_makers(model, index, done)
    return model


def _computed(index: GraphIndex, name: str, depth: int = 0) -> Iterator[onnx.NodeProto | None]:
    """The nodes that compute a value from initializers, inputs first; a None among them: they do not."""
    if index.constant(name) is not None or not name:
        return
    node = index.makers.get(name)
    if node is None or node.op_type not in _WEIGHT_OPS or node.domain or depth > 12 or len(node.output) != 1:
        yield None
        return
    for entry in node.input:
        yield from _computed(index, entry, depth + 1)
    yield node


def _evaluate(
    index: GraphIndex, model: onnx.ModelProto, steps: Sequence[onnx.NodeProto], name: str
) -> NDArray[Any]:
    from onnx.reference import ReferenceEvaluator

    unique = list({id(step): step for step in steps}.values())
    read = {entry for step in unique for entry in step.input if index.constant(entry) is not None}
    output = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(unique, "weight", [], [output], [index.initializers[entry] for entry in read])
    small = helper.make_model(graph, opset_imports=list(model.opset_import))
    results: Any = ReferenceEvaluator(small).run(None, {})
    value: NDArray[Any] = np.ascontiguousarray(results[0])
    return value


def _remove_makers(model: onnx.ModelProto, index: GraphIndex, folded: set[str]) -> None:
    """Without the nodes that made folded values and those that only they read."""
    kept = [node for node in index.nodes if not folded & set(node.output)]
    while True:
        read = {entry for node in kept for entry in node.input} | index.pinned
        alive = [node for node in kept if node.op_type not in _WEIGHT_OPS or read & set(node.output)]
        if len(alive) == len(kept):
            break
        kept = alive
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(copies)
