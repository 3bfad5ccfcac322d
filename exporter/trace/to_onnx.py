"""The dense ONNX model of a net, with its weights still the checkpoint's, bit for bit.

What torch.onnx does by default (torch 2.13, onnxscript 0.7): `optimize=True` runs onnxscript's optimizer,
whose rewrite rules fuse BatchNormalization into the weights of the Conv or Gemm in front of it. That changes
every weight, so packed bits would no longer be the checkpoint's. With `optimize=False` all weights stay, but
decompositions leave chains of Shape, CastLike and Expand behind. So: export unoptimized, then run the same
passes here without the BatchNorm rules, folding no node that reads a weight.

The result, checked on torchvision's vgg11, resnet18, densenet121, mobilenet_v2 and vit_b_16:

- every weight is an initializer under its state-dict name, bit-identical; a bias of only zeros is left out
- Conv keeps its own BatchNormalization node behind it
- Linear on 2-D input is Gemm with transB=1 and the weight as stored [out, in]; with leading dimensions it is
  Transpose(weight) -> MatMul -> Add
- in_proj weights of attention are one [3*E, E] initializer behind such a Transpose
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from ...errors import UnsupportedError
from ...notes import Note
from ...text import shown
from ..files import held
from . import computed
from .dynamic import BATCH

if TYPE_CHECKING:
    import onnx

    from .resolved import Resolved

#: Understood by onnxruntime 1.20 and later; what torch's exporter writes without a version conversion.
OPSET = 18


def to_onnx(
    resolved: Resolved, verbose: bool = False, tensors: held.Tensors | None = None
) -> onnx.ModelProto:
    """The net as an ONNX model, with a dynamic batch where it can be traced so.

    A net that cannot is exported with the batch of its example inputs, and `resolved.notes` says so.

    Parameters
    ----------
    tensors
        Keeps the large weights, which are then the net's own memory; without it they are in the model.

    Raises
    ------
    UnsupportedError
        If torch.export cannot trace the net at all; `verbose` shows why.
    """
    exported, reason = _attempt(resolved, True, verbose)
    if exported is not None and resolved.asked and (closed := _closed(exported.model.graph, resolved.axes)):
        exported, reason = None, f"{closed} came out fixed"
    if exported is None and resolved.asked:
        raise UnsupportedError(
            f"'{shown(resolved.arch_name)}' cannot be traced with its batch and the --dynamic axes open:"
            f" {reason}; leave some out, or -v shows more"
        )
    if exported is None:
        fixed, fixed_reason = _attempt(resolved, False, verbose)
        if fixed is None:
            raise UnsupportedError(
                f"'{shown(resolved.arch_name)}' cannot be traced: {fixed_reason or reason}; -v shows more"
            )
        exported = fixed
        batch = (
            resolved.example_inputs[0].shape[0]
            if resolved.example_inputs and resolved.example_inputs[0].ndim
            else 1
        )
        resolved.notes.append(
            Note(
                "warn",
                f"exported with a fixed batch of {batch}: torch.export could not trace a free one ({reason})",
            )
        )
    elif resolved.program is not None and not _free(exported.model.graph):
        resolved.notes.append(
            Note(
                "info",
                "the program's batch is fixed; dynamic_shapes of torch.export would free it",
            )
        )
    model = exported.model
    weights = set(resolved.module.state_dict()) | set(getattr(resolved.program, "state_dict", ()))
    with _muted(verbose):
        weights |= set(computed.fix(exported))
        simplify(model, weights)
        return _model(model, tensors)


def _model(model: Any, tensors: held.Tensors | None) -> onnx.ModelProto:
    """The protobuf of an onnx_ir model."""
    import onnx_ir as ir

    arrays = {}
    for name, value in model.graph.initializers.items() if tensors is not None else ():
        const = value.const_value
        if const is not None and const.nbytes >= held.LEAST_BYTES and held.can_hold(int(const.dtype)):
            arrays[name] = const.numpy()
            value.const_value = ir.ExternalTensor(
                "held", None, None, const.dtype, shape=const.shape, name=name, doc_string=const.doc_string
            )
    proto: onnx.ModelProto = ir.to_proto(model)
    for tensor in proto.graph.initializer:
        if tensors is not None and tensor.name in arrays:
            tensors.hold(tensor, arrays[tensor.name])
    return proto


def _free(graph: Any) -> bool:
    """Whether the first dimension of an input is symbolic."""
    return any(value.shape and not isinstance(value.shape[0], int) for value in graph.inputs)


def _closed(graph: Any, axes: list[dict[int, str]]) -> str:
    """Name and axis of the first input dimension that was to be open and is not, else nothing."""
    for value, places in zip(graph.inputs, axes, strict=False):
        for axis in places:
            if value.shape is not None and isinstance(value.shape[axis], int):
                return f"{value.name}:{axis}"
    return ""


def _attempt(resolved: Resolved, dynamic: bool, verbose: bool) -> tuple[Any | None, str]:
    """The exported program, or None and why not in a few words."""
    options: dict[str, Any] = {"dynamo": True, "optimize": False, "verbose": verbose, "opset_version": OPSET}
    try:
        with _muted(verbose), torch.no_grad():
            if resolved.program is not None:
                if not dynamic:
                    return None, ""
                return torch.onnx.export(resolved.program, resolved.example_inputs, **options), ""
            inputs = resolved.example_inputs
            if dynamic:
                if not any(item.ndim for item in inputs):
                    return None, "no input has a batch dimension"
                # Traced with a batch of 2: a dimension of 1 may be taken for a broadcast.
                axes = resolved.axes or [{0: BATCH} if item.ndim else {} for item in inputs]
                inputs = tuple(_widened(item, places) for item, places in zip(inputs, axes, strict=True))
                options["dynamic_shapes"] = tuple(places or None for places in axes)
            return torch.onnx.export(resolved.module, inputs, **options), ""
    except Exception as error:  # the net's own code runs here, so anything can come out
        return None, _in_short(error)


def _widened(item: torch.Tensor, axes: Iterable[int]) -> torch.Tensor:
    """`item` with at least two along each of the axes."""
    for axis in axes:
        if item.shape[axis] == 1:
            item = torch.cat([item, item], axis)
    return item


def _in_short(error: BaseException) -> str:
    """The innermost cause of an export failure, as one short line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {shown(lines[0])}" if lines else type(error).__name__


@contextlib.contextmanager
def _muted(verbose: bool) -> Iterator[None]:
    """Keep torch's and onnxscript's printing, logging and warnings off the terminal."""
    if verbose:
        yield
        return
    sink = io.StringIO()
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def simplify(model: Any, weights: set[str]) -> None:
    """Fold constants and tidy an onnx_ir model in place; every weight and BatchNormalization stays."""
    import onnx_ir as ir
    import onnx_ir.passes.common as passes
    from onnxscript import optimizer, rewriter

    rules = [rule for rule in rewriter._DEFAULT_REWRITE_RULES if "BatchNorm" not in str(rule.name)]

    def keep_weights(node: ir.Node) -> bool | None:
        return False if any(value is not None and value.name in weights for value in node.inputs) else None

    passes.InlinePass()(model)
    for _ in range(2):
        optimizer.fold_constants(model, onnx_shape_inference=True, should_fold=keep_weights)
        rewriter.rewrite(model, rules)
    ir.passes.Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    )(model)
