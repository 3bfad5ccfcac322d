"""The doctor's note: what a checkpoint holds that its owner should know before packing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...notes import Note
from ...text import counted, listed, shown
from ..files.tensors import identity

if TYPE_CHECKING:
    import torch

#: A weight with more zeros than this counts as sparse: below it, an index costs more than it saves.
SPARSE = 0.5
#: Near-zero: not zero, but this much smaller than the largest weight of its tensor.
NEGLIGIBLE = 1e-6
#: Tensors below this many elements (norms, biases, small heads) are not worth a line.
SMALL = 1024
#: Elements looked at per step: they and what is computed of them stay in the cache.
_STEP = 1 << 18
#: Elements that are enough to see whether one in a hundred is nearly zero.
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class Findings:
    """Counts over one floating-point tensor."""

    elements: int
    zeros: int
    negligible: int
    nans: int
    infinities: int


def chunks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Flat views of a contiguous tensor, a few MB each."""
    flat = tensor.detach().reshape(-1)
    for start in range(0, flat.numel(), _STEP):
        yield flat[start : start + _STEP]


def examine(tensor: torch.Tensor) -> Findings:
    """Zeros, near-zeros, NaNs and infinities of one floating-point tensor."""
    import torch

    zeros = nans = infinities = negligible = 0
    largest = 0.0
    for chunk in chunks(tensor):
        zeros += chunk.numel() - int(torch.count_nonzero(chunk))
        low, high = (float(bound) for bound in torch.aminmax(chunk))
        if not (abs(low) < float("inf") and abs(high) < float("inf")):  # also true for a NaN
            nans += int(torch.isnan(chunk).sum())
            infinities += int(torch.isinf(chunk).sum())
        else:
            largest = max(largest, -low, high)
    if largest:
        negligible = _negligible(tensor, largest * NEGLIGIBLE)
    return Findings(tensor.numel(), zeros, negligible, nans, infinities)


def _negligible(tensor: torch.Tensor, threshold: float) -> int:
    """How many elements are below `threshold` and not 0; 0 if a sample has none."""
    import torch

    def count(part: torch.Tensor) -> int:
        return int(torch.count_nonzero((part.abs() < threshold) & (part != 0)))

    step = max(tensor.numel() // _SAMPLE, 1)
    if not count(tensor.detach().reshape(-1)[::step]):
        return 0
    return sum(count(chunk) for chunk in chunks(tensor))


def distinct(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`tensors` with tied ones once, under their first name."""
    seen: set[tuple[object, ...]] = set()
    kept = {}
    for name, tensor in tensors.items():
        key = identity(tensor)
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        kept[name] = tensor
    return kept


def diagnose(tensors: Mapping[str, torch.Tensor]) -> tuple[list[Note], dict[str, int]]:
    """What the weights look like: the notes, and the number of NaN values of each tensor that has some."""
    found = {n: examine(t) for n, t in distinct(tensors).items() if t.is_floating_point()}
    weights = {n: f for n, f in found.items() if f.elements >= SMALL and tensors[n].ndim >= 2 and not f.nans}
    notes = [*_sparsity(weights), *_near_zeros(weights)]
    for name, finding in found.items():
        if finding.nans:
            text = f"'{shown(name)}' holds {finding.nans:,} NaN of {finding.elements:,} values"
            notes.append(Note("warn", text))
        if finding.infinities:
            text = f"'{shown(name)}' holds {counted(finding.infinities, 'infinite value')}"
            notes.append(Note("warn", text))
    return notes, {name: finding.nans for name, finding in found.items() if finding.nans}


def _sparsity(weights: dict[str, Findings]) -> list[Note]:
    if not weights:
        return []
    zeros = sum(f.zeros for f in weights.values())
    elements = sum(f.elements for f in weights.values())
    overall = f"{zeros / elements:.2%} of {elements:,} weights are zero"
    dense = [name for name, f in weights.items() if f.zeros < SPARSE * f.elements]
    if len(dense) == len(weights):
        text = f"not sparse: {overall}; a format that skips zeros will not make this file smaller"
        return [Note("warn", text)]
    notes = [Note("info", overall)]
    if dense:
        text = f"{len(dense)} of {len(weights)} weight tensors are not sparse (under {SPARSE:.0%} zeros)"
        notes.append(Note("info", f"{text}: {listed(dense)}"))
    return notes


def _near_zeros(weights: dict[str, Findings]) -> list[Note]:
    """A line when pruning wrote tiny values where it meant zeros."""
    hit = {name: f for name, f in weights.items() if f.negligible > 0.01 * f.elements}
    if not hit:
        return []
    count = sum(f.negligible for f in hit.values())
    text = (
        f"{counted(count, 'weight')} near zero but not zero (below {NEGLIGIBLE:g} of their tensor's largest)"
        f" in {listed(list(hit))}: they are stored like any other value; set them to 0 to save their space"
    )
    return [Note("warn", text)]
