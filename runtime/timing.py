"""How long a call takes, several of them in turn; made in one place, for what is decided within one process.

Published figures come from `measure`, which gives every subject a process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any


def medians(calls: Sequence[Callable[[], Any]], *, rounds: int = 7, seconds: float = 0.02) -> list[float]:
    """Median seconds of one run of each call.

    Parameters
    ----------
    calls
        What is timed; in every round each has its turn, so that what slows the machine slows them alike.
    rounds
        Samples of each.
    seconds
        A sample repeats its call about that long; 0: one call a sample.
    """
    repeats = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        repeats.append(max(1, int(seconds / max(1e-7, time.perf_counter() - start))))
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, count, taken in zip(calls, repeats, samples, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                call()
            taken.append((time.perf_counter() - start) / count)
    return [median(taken) for taken in samples]
