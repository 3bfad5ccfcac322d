"""The verdict on one output: whether a file gives what its source gives, and whether that shows anything.

NOTES
-----
A float is right when ``|file - source| <= rtol * spread + rounding``. The spread is that of its
own channel and row (`scales`), so a large neighbour, a constant offset or an output of 1e-6 hide nothing.
Rounding is what the source itself does not decide: 32 units in the last place of the slice's magnitude, and
16 times what the source's own outputs move when it is computed another way (no graph optimisation) or on
inputs that differ in their last bit. Sums in another order move an output by as much where terms cancel.
Tolerances that a user gives are taken as they are: ``|file - source| <= atol + rtol * magnitude``, again of
the own channel and row.

An output is evidence where its values are finite and vary by more than their rounding. NaN agrees with NaN,
but shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...text import shown
from .scales import Scales

Array = NDArray[Any]

RTOL = 1e-3
#: Units in the last place of the slice's magnitude that a sum in another order may differ by.
ULPS = 32
#: The same for the narrow types, whose every operation rounds.
NARROW_ULPS = 4
#: How many times the source's own movement a file may be away.
NOISE = 16


@dataclass(frozen=True)
class Tolerance:
    """What is allowed; None for both: the default, a share of the spread with room for rounding."""

    rtol: float | None = None
    atol: float | None = None

    @property
    def given(self) -> bool:
        """Whether a user set one; the other one is then 0."""
        return self.rtol is not None or self.atol is not None


@dataclass
class OutputVerdict:
    """How far one output is from the source's.

    `max_abs` and `mean_abs` are in units of the output, `max_rel` is relative to the largest magnitude of a
    value's own channel or row. `top1` is the share of equal argmax over the last axis, None where there is
    none. `unproven` says why the output shows nothing, empty where it does.
    """

    name: str
    dtype: str = ""
    max_abs: float = 0.0
    mean_abs: float = 0.0
    max_rel: float = 0.0
    top1: float | None = None
    passed: bool = True
    reason: str = ""
    unproven: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values: what is not finite is null."""
        return {key: _finite(value) for key, value in asdict(self).items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class Runs:
    """One output over several runs: of the source, of the file, and of the source computed in other ways."""

    name: str
    expected: list[Any]
    got: list[Any]
    moved: list[list[Any]] = field(default_factory=list)
    #: Whether the source gives another value when it is run again.
    random: bool = False
    #: Whether there are inputs that the output could follow.
    fed: bool = True
    #: The step that a function with a range of its own makes near its ends.
    step: float = 0.0


def judge(runs: Runs, tolerance: Tolerance) -> OutputVerdict:
    """The verdict on one output."""
    first = next((value for value in runs.expected if value is not None), None)
    verdict = OutputVerdict(runs.name, _kind(first))
    if runs.random:
        verdict.unproven = "random: the source itself gives another value when it is run again"
        return verdict
    for expected, got in zip(runs.expected, runs.got, strict=True):
        verdict.reason = _other_form(expected, got)
        if verdict.reason:
            verdict.passed, verdict.max_abs, verdict.max_rel = False, math.inf, math.inf
            return verdict
    if not isinstance(first, np.ndarray) or first.dtype.kind != "f":
        _judge_exact(runs, verdict)
    elif all(value.size == 0 for value in runs.expected):
        verdict.unproven = "empty in every run"
    else:
        _judge_floats(runs, tolerance, verdict)
    if runs.fed and not verdict.unproven and _same_everywhere(runs.expected):
        verdict.unproven = "the same for every input tried"
    return verdict


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.dtype)
    return "sequence" if isinstance(value, list) else type(value).__name__


def _other_form(expected: Any, got: Any) -> str:
    """How the file's value differs in kind, dtype or shape; empty where it does not."""
    if _kind(expected) != _kind(got):
        return f"is {_kind(got)}, the source's is {_kind(expected)}"
    if isinstance(expected, np.ndarray) and expected.shape != got.shape:
        return f"has shape {list(got.shape)}, the source's {list(expected.shape)}"
    if isinstance(expected, list):
        if len(expected) != len(got):
            return f"has {len(got)} elements, the source's {len(expected)}"
        return next((why for a, b in zip(expected, got, strict=True) if (why := _other_form(a, b))), "")
    return ""


def _judge_exact(runs: Runs, verdict: OutputVerdict) -> None:
    """Integers, booleans, texts: equal, but for those that the source does not decide itself."""
    wrong = undecided = total = 0
    largest = 0.0
    for place, (expected, got) in enumerate(zip(runs.expected, runs.got, strict=True)):
        different = _different(expected, got)
        moved = [_different(expected, other[place]) for other in runs.moved if place < len(other)]
        loose = np.zeros_like(different)
        for one in moved:
            loose |= one if one.shape == different.shape else False
        if runs.step and isinstance(expected, np.ndarray) and expected.dtype.kind in "iu":
            loose |= (np.abs(expected.astype(np.float64) - got) <= runs.step).reshape(-1)
        wrong += int((different & ~loose).sum())
        undecided += int((different & loose).sum())
        total += different.size
        if isinstance(expected, np.ndarray) and expected.dtype.kind in "iub" and different.any():
            gap = np.abs(expected.astype(np.float64) - got.astype(np.float64))
            verdict.max_abs = max(verdict.max_abs, float(gap.max()))
            largest = max(largest, float(np.abs(expected.astype(np.float64)).max()))
            verdict.mean_abs += float(gap.mean()) / len(runs.expected)
    verdict.max_rel = verdict.max_abs / largest if largest else (math.inf if verdict.max_abs else 0.0)
    verdict.top1 = 1 - (wrong + undecided) / total if total else None
    if wrong or undecided > total / 2:
        verdict.passed = False
        verdict.reason = f"differs in {wrong + undecided:,} of {total:,} values"


def _different(a: Any, b: Any) -> NDArray[np.bool_]:
    """Where two values differ; numbers in sequences as floats of their own, by their bits up to rounding."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape:
            return np.ones(1, bool)
        if a.dtype.kind == "f":
            with np.errstate(invalid="ignore", over="ignore"):
                scale = np.max(np.abs(a[np.isfinite(a)]), initial=0)
                near = np.abs(a - b) <= RTOL * np.abs(a) + ULPS * _epsilon(a.dtype) * scale
            return np.asarray(~(near | (a == b) | (np.isnan(a) & np.isnan(b)))).reshape(-1)
        return np.asarray(a != b).reshape(-1)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        parts = [_different(x, y) for x, y in zip(a, b, strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0, bool)
    if isinstance(a, dict) and isinstance(b, dict):
        near = a.keys() == b.keys() and all(_near(a[key], b[key]) for key in a)
        return np.array([not near])
    return np.array([not _near(a, b)])


def _near(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RTOL, abs_tol=ULPS * _epsilon(np.dtype("f4"))) or (
            a != a and b != b
        )
    return bool(a == b)


def _epsilon(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 2.0**-7


def _judge_floats(runs: Runs, tolerance: Tolerance, verdict: OutputVerdict) -> None:
    expected = [np.asarray(value) for value in runs.expected]
    scales = Scales(expected)
    dtype = expected[0].dtype
    same = total = telling = count = 0
    gap_sum, finite = 0.0, 0
    with np.errstate(invalid="ignore", over="ignore"):
        for place, wanted in enumerate(expected):
            got = np.asarray(runs.got[place])
            if not wanted.size:
                continue
            equal = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
            gap = np.where(equal, 0.0, np.abs(got.astype(np.float64) - wanted.astype(np.float64)))
            gap = np.where(np.isnan(gap), np.inf, gap)
            rounding = _rounding(runs, scales, place, dtype)
            magnitude = scales.magnitude(place)
            rounding = np.maximum(rounding, runs.step)
            if tolerance.given:
                allowed = (tolerance.atol or 0.0) + (tolerance.rtol or 0.0) * magnitude
            else:
                allowed = RTOL * scales.spread(place) + rounding
            relative = np.divide(gap, magnitude, out=np.where(gap > 0, np.inf, 0.0), where=magnitude > 0)
            verdict.passed &= bool((gap <= allowed).all())
            verdict.max_abs = max(verdict.max_abs, float(gap.max()))
            verdict.max_rel = max(verdict.max_rel, float(relative.max()))
            gap_sum, count = gap_sum + float(gap.sum()), count + gap.size
            finite += int(np.isfinite(wanted).sum())
            telling += int((np.isfinite(wanted) & (scales.spread(place) > 8 * rounding)).sum())
            if wanted.ndim >= 2 and wanted.shape[-1] > 1:
                agree = got.argmax(-1) == wanted.argmax(-1)
                same, total = same + int(agree.sum()), total + agree.size
    verdict.mean_abs = gap_sum / count if count else 0.0
    verdict.top1 = same / total if total else None
    if not finite:
        verdict.unproven = "NaN or infinite everywhere"
    elif not telling:
        zero = all(not value.any() for value in expected)
        verdict.unproven = "zero everywhere" if zero else "constant, up to rounding"
    if not verdict.passed:
        verdict.reason = (
            f"differs by up to {verdict.max_abs:.3g} ({verdict.max_rel:.2%} of its own channel or row)"
        )


def _rounding(runs: Runs, scales: Scales, place: int, dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """What the source does not decide about each value."""
    ulps = ULPS if dtype.itemsize >= 4 else NARROW_ULPS
    rounding = ulps * _epsilon(dtype) * scales.rounded(place) + float(np.finfo(np.float32).tiny)
    for other in runs.moved:
        if len(other) == len(runs.expected) and all(
            isinstance(a, np.ndarray) and a.shape == b.shape
            for a, b in zip(other, runs.expected, strict=True)
        ):
            gaps = [
                np.abs(a.astype(np.float64) - b.astype(np.float64))
                for a, b in zip(other, runs.expected, strict=True)
            ]
            rounding = np.maximum(rounding, NOISE * scales.worst(place, gaps))
    return rounding


def _same_everywhere(values: Sequence[Any]) -> bool:
    """Whether several runs gave one and the same value: in one shape, or in rows that are all alike."""
    first, *rest = values
    if not rest or not isinstance(first, np.ndarray):
        return False
    floats = first.dtype.kind == "f"
    if all(value.shape == first.shape for value in rest):
        return all(np.array_equal(value, first, equal_nan=floats) for value in rest)
    if not first.ndim or any(value.shape[1:] != first.shape[1:] for value in rest):
        return False
    rows = np.concatenate([value.reshape(len(value), -1) for value in values])
    return all(np.array_equal(row, rows[0], equal_nan=floats) for row in rows)


def summary(name: str) -> str:
    """An output's name for a message."""
    return f"output '{shown(name)}'"
