"""The weights packed, measured where that is asked for, and what a user should know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..formats import Packed
    from ..runtime.cost import Estimate
    from ..runtime.inputs import Feeds
    from .graph.index import GraphIndex
    from .plan.tensor_plan import TensorPlan
    from .plan.values import Spec
    from .source import Source

#: Told about progress: what is being done, how far, of how much (0: unknown).
Progress = Callable[[str, int, int], None]

#: What a report says of a file in standard operators alone.
PORTABLE = (
    "portable: standard operators alone; every runtime expands the weights when it loads them, ours too: "
    "the operator library finds no layer to run packed"
)


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


def packing(
    index: GraphIndex,
    source: Source,
    plans: Sequence[TensorPlan],
    feeds: Feeds | None,
    threads: int,
    dry_run: bool,
    progress: Progress,
) -> tuple[dict[str, Packed], dict[str, Estimate]]:
    """The packed weights, and what was measured of them; then `plans` are settled by that.

    `feeds` are the inputs to time the net with, None for measuring nothing; a dry run packs only what is
    measured.
    """
    from .plan.pack import pack
    from .rewrite import smallest
    from .rewrite.layout import keep_what_is_read

    packed: dict[str, Packed] = {}
    if feeds is None:
        keep_what_is_read(index, plans)
    if feeds is not None or not dry_run:
        packed = pack(plans, lambda done, total: progress("packing", done, total))
    if feeds is None:
        return packed, {}
    from .tune import expand_measured_slow

    measured = expand_measured_slow(
        index,
        source.model,
        plans,
        packed,
        source.example_shapes,
        feeds,
        threads=threads,
        progress=lambda done, total: progress("measuring", done, total),
    )
    smallest.settle(index, source.model, plans, measured=True)
    smallest.expand_the_rest(index, source.model, plans)
    keep_what_is_read(index, plans)
    kept = {plan.name: packed[plan.name] for plan in plans if plan.runs_packed}
    return kept | pack([plan for plan in plans if plan.expanded]), measured


def refuse_for_portable(optimize: str, measure: bool, spec: Spec) -> None:
    """What chooses among layers that run packed has nothing to choose where none does.

    Raises
    ------
    InputError
        Naming the option that does not go with it.
    """
    other = "measure" if measure else f"optimize {optimize}" if optimize != "size" else ""
    if other:
        raise InputError(f"--portable lets no layer run packed: --{other} does not go with it")
    if spec.lossy:
        raise InputError(f"--portable stores every value as it is: --values {spec} does not go with it")


def remarks(
    index: GraphIndex, plans: Sequence[TensorPlan], spec: Spec, portable: bool = False
) -> list[tuple[str, str]]:
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
    if portable:
        notes.append(PORTABLE)
    return [("info", note) for note in notes]
