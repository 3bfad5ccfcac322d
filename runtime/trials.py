"""Which inputs a model accepts, and which of them show anything: found by a bounded number of runs.

A graph says less about its inputs than it demands of them: an open dimension that only a Reshape knows, a
batch that is baked in, a mask whose zeros make everything NaN. So seeded candidates are run until the model
takes one, then until its outputs are finite and follow the input.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..text import shown
from .inputs import FAMILIES, Feeds, InputSpec, batch_keys, make, sizes_in

#: Runs the model, or raises InputError where it does not take the inputs.
Attempt = Callable[[Feeds], list[Any]]

#: Batch sizes that are compared; a model that takes one alone gets three different inputs of it.
BATCHES = (1, 2, 3)
#: Sizes tried for open dimensions that nothing tells.
LADDER = (8, 16, 32, 64, 128, 224, 4, 256, 1, 2, 3, 512, 640, 10, 5, 100, 1024)
_OTHER_BATCHES = (2, 4, 8, 16, 3)
_TRIALS = 80
_SECONDS = 20.0


@dataclass(frozen=True)
class Sampling:
    """How inputs that a model accepts are made.

    Attributes
    ----------
    sizes
        Of the open dimensions, the batch's apart.
    batch
        Names of the dimensions that are the batch.
    batches
        Batch sizes the model takes; empty where it leaves none open.
    family
        How floats are drawn.
    zeros
        Inputs of integers that have to be 0.
    finite
        Whether an output had a number in it on these inputs.
    guessed
        Whether an open dimension was given a size that nothing asked for.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    batch: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    family: str = FAMILIES[0]
    zeros: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()
    finite: bool = True

    def feeds(self, specs: Sequence[InputSpec], given: Feeds, seed: int, batch: int) -> Feeds:
        """The inputs of one batch size: what is given as it is, the rest seeded."""
        sizes = {**self.sizes, **dict.fromkeys(self.batch, batch)}
        wanted = [replace(s, high=1) if s.name in self.zeros else s for s in specs if s.name not in given]
        made = make(wanted, sizes, seed, self.family)
        return {spec.name: given.get(spec.name, made.get(spec.name)) for spec in specs}


def samples(specs: Sequence[InputSpec], sampling: Sampling, given: Feeds, seed: int) -> list[Feeds]:
    """The inputs on which two models are compared: one of each batch size, at least three in all.

    Where everything is given there are two more with 10 % of noise on the floats: one sample cannot tell a
    column that is constant from one that is right.
    """
    if specs and all(spec.name in given for spec in specs):
        return [dict(given), *(_jittered(specs, given, seed + place) for place in (1, 2))]
    batches = sampling.batches if len(sampling.batches) > 1 else (sampling.batches or (1,)) * len(BATCHES)
    return [sampling.feeds(specs, given, seed + place, batch) for place, batch in enumerate(batches, 1)]


def _jittered(specs: Sequence[InputSpec], given: Feeds, seed: int) -> Feeds:
    rng = np.random.default_rng(seed)
    feeds = dict(given)
    for spec in specs:
        array = np.asarray(given[spec.name])
        if array.dtype.kind == "f" and "mask" not in spec.name.lower():
            noisy = array.astype(np.float64) * (1 + 0.1 * rng.standard_normal(array.shape))
            feeds[spec.name] = noisy.astype(array.dtype)
    return feeds


def search(
    specs: Sequence[InputSpec],
    attempt: Attempt,
    *,
    given: Feeds | None = None,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    batches: Sequence[int] = BATCHES,
    seconds: float = _SECONDS,
) -> Sampling:
    """Inputs that the model takes and that show what it computes.

    Parameters
    ----------
    given, sizes
        Arrays and sizes of open dimensions that are decided.
    batches
        Batch sizes to look for.
    seconds
        When to stop looking.

    Raises
    ------
    InputError
        If the model takes none of the candidates; with what it said last, and the way out.
    """
    given, sizes = given or {}, dict(sizes or {})
    trials = _Trials(attempt, time.monotonic() + seconds)
    sampling = _accepted(specs, trials, given, sizes, seed)
    sampling = _telling(specs, trials, sampling, given, seed)
    wanted = sampling.batches
    if sampling.batch and not set(sampling.batch) & set(sizes_in(given, specs)):
        wanted = tuple(dict.fromkeys([*wanted, *batches]))
    taken = tuple(
        size for size in wanted if trials.run(sampling.feeds(specs, given, seed + 1, size)) is not None
    )
    return replace(sampling, batches=taken or sampling.batches)


class _Trials:
    """Runs, counted and timed; remembers what the model said last."""

    def __init__(self, attempt: Attempt, end: float) -> None:
        self._attempt, self._end = attempt, end
        self.left, self.said = _TRIALS, ""

    @property
    def over(self) -> bool:
        return self.left <= 0 or time.monotonic() > self._end

    def run(self, feeds: Feeds) -> list[Any] | None:
        self.left -= 1
        try:
            return self._attempt(feeds)
        except InputError as error:
            self.said = str(error)
            return None


def _accepted(
    specs: Sequence[InputSpec], trials: _Trials, given: Feeds, sizes: dict[str, int], seed: int
) -> Sampling:
    """The first candidate that the model runs on."""
    first = ""
    for sampling in _candidates(specs, given, sizes):
        if trials.over:
            break
        if trials.run(sampling.feeds(specs, given, seed + 1, (sampling.batches or (1,))[0])) is not None:
            return sampling
        first = first or trials.said
    raise InputError(
        f"no inputs were found that the model takes ({first or 'nothing was tried'}): give some with "
        "--input data.npz, or sizes with --input-shape NAME=SHAPE"
    )


def _candidates(specs: Sequence[InputSpec], given: Feeds, sizes: dict[str, int]) -> Iterator[Sampling]:
    """Sizes for the open dimensions, the likely ones first."""
    hints = _hints(specs)
    keys = dict.fromkeys(
        key for spec in specs for axis in range(len(spec.shape)) if isinstance(key := spec.key(axis), str)
    )
    integers = tuple(
        spec.name for spec in specs if spec.dtype[:3] in ("int", "uin") and spec.name not in given
    )
    seen = set()
    for zeros in ((), integers) if integers else ((),):
        for others in (False, True):
            for states in (True, False):
                batch = batch_keys(specs, states=states)
                free = [key for key in keys if key not in batch and key not in sizes]
                decided = [sizes[key] for key in keys if key in batch and key in sizes]
                for first in [decided[0]] if decided else (_OTHER_BATCHES if others else (1,)):
                    for size in LADDER if any(key not in hints for key in free) else (1,):
                        chosen = {**{key: hints.get(key, size) for key in free}, **sizes}
                        mark = (zeros, tuple(sorted(batch)), first, tuple(chosen.items()))
                        if mark not in seen:
                            seen.add(mark)
                            guessed = tuple(key for key in free if key not in hints)
                            open_batch = tuple(sorted(batch))
                            yield Sampling(
                                chosen,
                                open_batch,
                                (first,) if open_batch else (),
                                FAMILIES[0],
                                zeros,
                                guessed,
                            )


def _hints(specs: Sequence[InputSpec]) -> dict[str, int]:
    """What the graph tells about open dimensions."""
    return {
        key: size
        for spec in specs
        for axis, size in spec.sizes
        if axis < len(spec.shape) and isinstance(key := spec.key(axis), str)
    }


def _telling(
    specs: Sequence[InputSpec], trials: _Trials, sampling: Sampling, given: Feeds, seed: int
) -> Sampling:
    """The sampling with the family of floats on which most outputs follow the input and are finite."""
    drawn = [spec for spec in specs if spec.name not in given]
    floats = any(spec.dtype.startswith("float") and spec.high is None for spec in drawn)
    best, chosen = (-1, -1.0), sampling
    batch = (sampling.batches or (1,))[0]
    for family in (FAMILIES if floats else FAMILIES[:1]) if drawn else ():
        attempt = replace(sampling, family=family)
        runs = [trials.run(attempt.feeds(specs, given, seed + place, batch)) for place in (1, 2)]
        if runs[0] is None or runs[1] is None:
            continue
        rank = score(runs[0], runs[1])
        if rank > best:
            finite = any(map(_finite_share, runs[0] + runs[1])) or not runs[0]
            best, chosen = rank, replace(attempt, finite=finite)
        if best >= (len(runs[0]), 1.0) or trials.over:
            break
    return chosen


def score(first: list[Any], second: list[Any]) -> tuple[int, float]:
    """How many outputs differ between two inputs in finite values, and the share of finite values."""
    pairs = list(zip(first, second, strict=False))
    finite = [_finite_share(a) for a, _ in pairs]
    return sum(_follows(a, b) for a, b in pairs), min(finite, default=1.0)


def _finite_share(value: Any) -> float:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size:
        return 1.0
    return float(np.isfinite(value).mean())


def _follows(first: Any, second: Any) -> bool:
    """Whether an output is another one for another input, in values that are numbers."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) != len(second) or any(map(_follows, first, second))
    if not isinstance(first, np.ndarray) or not isinstance(second, np.ndarray):
        return bool(first != second)
    if first.shape != second.shape:
        return True
    if first.dtype.kind != "f":
        return bool(np.any(first != second))
    finite = np.isfinite(first) & np.isfinite(second)
    return bool(np.any(first[finite] != second[finite]))


def told(sampling: Sampling) -> str:
    """What was guessed or is fixed, for the user; empty where there is nothing to tell."""
    parts = []
    if sampling.guessed:
        sizes = ", ".join(f"{shown(name)} = {sampling.sizes[name]}" for name in sampling.guessed)
        parts.append(f"open dimensions taken as {sizes} (--input-shape sets them)")
    if sampling.batch and len(sampling.batches) == 1:
        parts.append(f"compared at batch {sampling.batches[0]}: the source takes none other of {BATCHES}")
    return "; ".join(parts)
