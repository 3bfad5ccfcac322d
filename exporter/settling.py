"""The plan once what makes layers slower is taken back, and what a user should know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..formats import Packed
    from ..runtime.inputs import Feeds
    from .graph.index import GraphIndex
    from .plan.tensor_plan import TensorPlan
    from .plan.values import Spec
    from .source import Source

#: Told about progress: what is being done, how far, of how much (0: unknown).
Progress = Callable[[str, int, int], None]


def of_integers(
    source: Source,
    activations: str,
    arrays: Mapping[str, Any] | None,
    calibration: str,
    spec: Spec,
) -> Source:
    """The source with a model of integers: its own, or its float one quantized.

    Raises
    ------
    InputError
        If it cannot be packed or quantized, or nothing says what to calibrate with.
    """
    from . import quantize
    from .graph.find import find
    from .graph.index import GraphIndex

    if activations != "int8":
        raise InputError(f"activations must be 'float' or 'int8', not '{activations}'")
    if spec.lossy:
        raise InputError(f"--activations int8 rounds the weights too: --values {spec} does not go with it")
    layers = find(GraphIndex(source.model))
    if any(layer.kind.startswith("Q") for layer in layers):
        quantize.refuse_asymmetric(source.path, layers)
        return source
    return quantize.quantized(source, arrays, calibration)


def settle(
    index: GraphIndex,
    source: Source,
    plans: Sequence[TensorPlan],
    optimize: str,
    feeds: Feeds | None,
    threads: int,
    dry_run: bool,
    progress: Progress,
) -> dict[str, Packed]:
    """The packed weights, once every layer that would get slower went back to dense in `plans`.

    `feeds` are the inputs to time the net with, None for trusting the cost model; a dry run packs only what
    is measured.
    """
    from .plan.pack import pack
    from .rewrite import smallest

    if optimize == "speed" and feeds is None:
        from .plan.cost import keep_slow_layers_dense
        from .rewrite.sign_rules import signed_weights

        signed = signed_weights(index, plans)
        keep_slow_layers_dense(source.model, plans, source.example_shapes, signed)
        smallest.settle(index, source.model, plans, only_drop=True)
    packed: dict[str, Packed] = {}
    if feeds is not None or not dry_run:
        packed = pack(plans, lambda done, total: progress("packing", done, total))
    if feeds is not None:
        from .tune import keep_measured_slow_layers_dense

        keep_measured_slow_layers_dense(
            index,
            source.model,
            plans,
            packed,
            source.example_shapes,
            feeds,
            threads=threads,
            progress=lambda done, total: progress("measuring", done, total),
        )
        smallest.settle(index, source.model, plans, only_drop=True)
        packed = {plan.name: packed[plan.name] for plan in plans if plan.packed}
    return packed


def remarks(index: GraphIndex, plans: Sequence[TensorPlan], spec: Spec) -> list[tuple[str, str]]:
    """What the user should know about the plan, as notes of the report."""
    from .. import formats
    from .graph import zeros

    notes = [note.text for note in zeros.notes(index, [plan.name for plan in plans if plan.packed])]
    packed = {plan.format for plan in plans if plan.runs_packed}
    expanded = sorted(name for name in packed if not formats.get(name).kernels)
    if expanded:
        names = ", ".join(expanded)
        notes.append(
            f"{names}: the library reads its rows once, when a session is made; csr is read where it lies"
        )
    if spec.lossy:
        notes.append(f"values stored as {spec}: lossy; zeros stay zero, outputs differ by what is said below")
    return [("info", note) for note in notes]
