"""Latent float weights made binary on request.

Latent weights (BinaryConnect, XNOR-Net) are trained in float and used through their sign.
`binarize_module` and `binarize_model` replace them by alpha * sign(W); nothing else in this package
changes a weight's sign or magnitude unasked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...errors import InputError
from ...formats.base import Array
from ..files import held
from .find import find
from .index import GraphIndex
from .walk import fresh, value_names

ALPHAS = ("mean", "one")
Notes = list[tuple[str, str]]


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
        restored = np.ascontiguousarray(binary.T if layers[name].transposed else binary)
        if name in index.initializers:
            index.initializers[name].CopyFrom(numpy_helper.from_array(restored, name))
        else:  # computed by nodes: an initializer takes their place
            index.makers[name].output[list(index.makers[name].output).index(name)] = index.fresh(name)
            model.graph.initializer.append(numpy_helper.from_array(restored, name))
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
        if not any(fits(name, glob) for name in names):
            raise InputError(
                f"--binarize {glob}: no weight has such a name; 'sparse-export inspect' lists them"
            )
    return [name for name in names if any(fits(name, glob) for glob in globs)]


def fits(name: str, glob: str) -> bool:
    """Whether a weight has such a name, or belongs to a layer that has."""
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
    used = value_names(model.graph)
    for place, node in enumerate(model.graph.node):
        if node.op_type != "BipolarQuant" or not node.domain.startswith(("qonnx", "finn", "onnx.brevitas")):
            nodes.append(node)
            continue
        start = fresh(f"{node.output[0]}.bipolar{place}", used)
        zero = numpy_helper.from_array(np.zeros((), np.float32), f"{start}.zero")
        model.graph.initializer.append(zero)
        nodes.append(helper.make_node("GreaterOrEqual", [node.input[0], zero.name], [f"{start}.cond"]))
        initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        if node.input[1] in initializers:
            minus = -held.array(initializers[node.input[1]])
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
