"""What is recorded of a proof, and every packed tensor of a file against the source's weight, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ... import formats
from ...errors import VerificationError
from ...formats import Packed
from ...formats.base import Array
from ...runtime.stock import Session
from ..files.streamed import serialized
from ..graph.domain import DOMAIN
from ..graph.walk import all_graphs, all_nodes
from ..rewrite import portable
from ..rewrite.packed_nodes import PackedNode, components, find, packed_tensor
from ..rewrite.sign_bits import signs
from .integers import Integers
from .verdict import OutputVerdict

#: Metadata of a file whose values are stored with less than they had: the `--values` that asked for it.
VALUES_KEY = "sparse_export.values"
#: The same for the `--activations`; and what `Verification.values` then says.
ACTIVATIONS_KEY = "sparse_export.activations"
ACTIVATIONS = "int8 activations"


@dataclass
class Verification:
    """How far the file's outputs are from the source's, over all outputs and runtimes.

    Attributes
    ----------
    max_abs, mean_abs, max_rel
        Worst of all outputs, see `OutputVerdict`.
    top1_agreement
        Share of samples with the same argmax over the last axis of the first output that has one.
    inputs, tensors
        How many inputs were compared, and how many packed tensors bit for bit.
    passed
        Whether the file computes what the source computes; with lossy values: what it computes with these.
    reference
        What ran the source.
    runtimes
        What ran the file.
    outputs
        The verdict on each output, in stock onnxruntime.
    values
        Why it differs: the `--values` that were asked for, or `ACTIVATIONS`; empty where nothing may.
    judged
        Whether the difference was held to a tolerance; without one, lossy values are not.
    unproven
        Why no output shows anything; empty where one does.
    integers
        What the layers that compute with integers showed one by one; None where there are none.
    notes
        What else is to be known: outputs that show nothing, guessed sizes, a runtime that is not there.
    """

    max_abs: float = 0.0
    mean_abs: float = 0.0
    max_rel: float = 0.0
    top1_agreement: float = 1.0
    inputs: int = 0
    tensors: int = 0
    passed: bool = True
    reference: str = ""
    runtimes: list[str] = field(default_factory=list)
    outputs: list[OutputVerdict] = field(default_factory=list)
    values: str = ""
    judged: bool = True
    unproven: str = ""
    integers: Integers | None = None
    notes: list[str] = field(default_factory=list)

    def take(self, verdicts: list[OutputVerdict]) -> None:
        """Count in the verdicts of one runtime."""
        for verdict in verdicts:
            self.max_abs = max(self.max_abs, verdict.max_abs)
            self.mean_abs = max(self.mean_abs, verdict.mean_abs)
            self.max_rel = max(self.max_rel, verdict.max_rel)
            self.passed &= verdict.passed
        agreement = next((verdict.top1 for verdict in verdicts if verdict.top1 is not None), 1.0)
        self.top1_agreement = min(self.top1_agreement, agreement)

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values: what is not finite is null."""
        own = OutputVerdict("", "", self.max_abs, self.mean_abs, self.max_rel).to_json()
        numbers = {name: own[name] for name in ("max_abs", "mean_abs", "max_rel")}
        outputs = [verdict.to_json() for verdict in self.outputs]
        integers = self.integers.to_json() if self.integers else None
        return {**vars(self), **numbers, "outputs": outputs, "integers": integers}


def values_of(model: onnx.ModelProto) -> str:
    """The lossy `--values` that a file says it was written with, or `ACTIVATIONS`; empty for none."""
    if any(entry.key == ACTIVATIONS_KEY for entry in model.metadata_props):
        return ACTIVATIONS
    return next((entry.value for entry in model.metadata_props if entry.key == VALUES_KEY), "")


def packed_nodes(model: onnx.ModelProto) -> dict[str, tuple[PackedNode, dict[str, Array]]]:
    """Every packed weight of a model: name to the node that holds it and its component arrays, as packed.

    Raises
    ------
    InputError
        If a node of our domain has no known format, or a component is not an initializer.
    """
    initializers = {tensor.name: tensor for graph in all_graphs(model.graph) for tensor in graph.initializer}
    return {one.name: (one, components(one, initializers)) for one in find(model.graph)}


def check_tensors(model: onnx.ModelProto, expected: dict[str, Packed], dense: Callable[[str], Array]) -> int:
    """Compare every packed tensor of the written model with its source, bit for bit; return how many.

    Parameters
    ----------
    expected
        What was packed, by weight name.
    dense
        Gives the weight that was packed, outputs first.

    Raises
    ------
    VerificationError
        Naming the first tensor that is missing or differs in a bit.
    """
    if expected and not any(node.domain == DOMAIN for node in all_nodes(model.graph)):
        return _check_spelled_out(model, list(expected), dense)
    written = packed_nodes(model)
    for name, packed in expected.items():
        if name not in written:
            raise VerificationError(f"{name}: missing in the written file")
        one, arrays = written[name]
        held = packed if one.fmt.name == packed.format else signs(packed)
        for part, array in arrays.items():
            if array.tobytes() != held.components[part].tobytes():
                raise VerificationError(f"{name}: component '{part}' differs from what was packed")
        source = np.ascontiguousarray(dense(name))
        same = formats.get(packed.format).unpack(packed).tobytes() == source.tobytes()
        if same and held is not packed:
            same = np.array_equal(one.fmt.unpack(packed_tensor(one, arrays)), np.sign(source))
        if not same:
            raise VerificationError(f"{name}: the {one.fmt.name} tensor does not unpack to the source weight")
    return len(expected)


def _check_spelled_out(model: onnx.ModelProto, names: list[str], dense: Callable[[str], Array]) -> int:
    """The same where standard operators expand the weights: what onnxruntime makes of them, bit for bit."""
    for name, alone in portable.decodes(model, names):
        if alone is None:
            raise VerificationError(f"{name}: missing in the written file")
        source = np.ascontiguousarray(dense(name))
        if source.dtype.kind == "V":  # bfloat16, which onnxruntime hands to nobody: as floats
            source = source.astype(np.float32)
            widened = helper.make_node("Cast", [name], [f"{name}.floats"], to=onnx.TensorProto.FLOAT)
            alone.graph.node.append(widened)
            alone.graph.output[0].name = widened.output[0]
        (got,) = Session(serialized(alone), name=name, optimize=False).run({})
        if got.tobytes() != source.tobytes():
            raise VerificationError(f"{name}: the file's operators do not expand it to the source weight")
    return len(names)
