"""The doctor's note: what a checkpoint holds that its owner should know before packing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import torch

#: A weight with more zeros than this counts as sparse: below it, an index costs more than it saves.
SPARSE = 0.5
#: Near-zero: not zero, but this much smaller than the largest weight of its tensor.
NEGLIGIBLE = 1e-6
#: Tensors below this many elements (norms, biases, small heads) are not worth a line.
SMALL = 1024
#: Elements looked at per step, so that no temporary is larger than a few MB.
_STEP = 1 << 20
#: Longest stretch of a file's own text that a message repeats.
_SHOWN = 80


@dataclass(frozen=True)
class Note:
    """One line of the doctor's note."""

    level: str  # "info" or "warn"
    text: str


@dataclass(frozen=True)
class Findings:
    """Counts over one floating-point tensor."""

    elements: int
    zeros: int
    negligible: int
    nans: int
    infinities: int


def shown(name: object) -> str:
    """`name` as text that is safe on a terminal: printable characters only, at most 80 of them."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def listed(names: list[str], limit: int = 3) -> str:
    """The first few of `names`, and how many more there are."""
    head = ", ".join(shown(name) for name in names[:limit])
    return head if len(names) <= limit else f"{head} and {len(names) - limit} more"


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
    threshold = largest * NEGLIGIBLE
    if threshold > 0:
        # Every zero is below the threshold too: subtract them.
        below = sum(int((chunk.abs() < threshold).sum()) for chunk in chunks(tensor))
        negligible = max(below - zeros, 0)
    return Findings(tensor.numel(), zeros, negligible, nans, infinities)


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


def identity(tensor: torch.Tensor) -> tuple[object, ...]:
    """A key that two tensors share exactly when they are the same view of the same storage."""
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def refuse_nan(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise for the first tensor that holds a NaN.

    Raises
    ------
    InputError
        Naming the tensor: no output could be verified against a model that computes NaN.
    """
    import torch

    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            nans = sum(int(torch.isnan(chunk).sum()) for chunk in chunks(tensor))
            if nans:
                raise InputError(
                    f"'{shown(name)}' holds {nans:,} NaN of {tensor.numel():,} values: the training diverged"
                    " or the file is damaged; export an earlier checkpoint"
                )


def refuse_unsupported(name: str, tensor: torch.Tensor) -> None:
    """Raise if no step after loading can work with this kind of tensor.

    Raises
    ------
    UnsupportedError
        For meta, quantised, complex, fp8 and sub-byte tensors, naming the tensor.
    """
    import torch

    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        raise UnsupportedError(
            f"'{shown(name)}' is a meta tensor: a shape without data; save the model with its weights loaded"
        )
    if tensor.is_quantized:
        raise UnsupportedError(
            f"'{shown(name)}' is quantised ({kind}); save the float model (dequantize() it first)"
        )
    if tensor.is_complex():
        raise UnsupportedError(f"'{shown(name)}' is complex ({kind}); only real weights can be packed")
    supported = {
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
        *(
            torch.uint8,
            torch.int8,
            torch.int16,
            torch.int32,
            torch.int64,
            torch.uint16,
            torch.uint32,
            torch.uint64,
        ),
    }
    if tensor.dtype not in supported:
        raise UnsupportedError(
            f"'{shown(name)}' has dtype {kind}; convert it first, e.g. with .to(torch.float16)"
        )


def diagnose(tensors: Mapping[str, torch.Tensor]) -> list[Note]:
    """What the weights look like: sparsity, near-zeros, NaN and infinite values."""
    found = {n: examine(t) for n, t in distinct(tensors).items() if t.is_floating_point()}
    weights = {n: f for n, f in found.items() if f.elements >= SMALL and tensors[n].ndim >= 2 and not f.nans}
    notes = [*_sparsity(weights), *_near_zeros(weights)]
    for name, finding in found.items():
        if finding.nans:
            notes.append(
                Note("warn", f"'{shown(name)}' holds {finding.nans:,} NaN of {finding.elements:,} values")
            )
        if finding.infinities:
            notes.append(Note("warn", f"'{shown(name)}' holds {finding.infinities:,} infinite values"))
    return notes


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
        f"{count:,} weights are near zero but not zero (below {NEGLIGIBLE:g} of their tensor's largest), in"
        f" {listed(list(hit))}: they are stored like any other value; set them to 0 to save their space"
    )
    return [Note("warn", text)]
