"""Figures from rounds of latencies: quantiles, speed-up with its interval, and a verdict on the noise.

NOTES
-----
Runs of one process are not independent (they share one memory layout and one moment), so an interval
over single runs is far too narrow. The unit here is the *round*: one fresh process a model, all models
within seconds of each other. The speed-up is the mean over rounds of the paired log ratios, and its
interval is a bootstrap over rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

#: 99 %: at 95 % one of twenty comparisons of a file with itself would claim a difference.
CONFIDENCE = 0.99
_NORMAL_QUANTILE = 2.5758293  # of 1 - (1 - CONFIDENCE) / 2
RESAMPLES = 10_000
#: Fewest samples for which a tail quantile means something (about 6 samples beyond it).
P90_SAMPLES = 64
P99_SAMPLES = 662
#: A round-to-round spread or a drift above these makes a row "noisy".
NOISY_CV = 0.05
NOISY_DRIFT = 0.05
#: Involuntary context switches a second: a handful on an idle machine, 100 where two processes share a CPU.
NOISY_PREEMPTIONS = 40.0
#: An interval that holds 1 and is narrower than this (high / low) says "same"; a wider one says nothing.
SAME_WIDTH = 1.10


def summarize(rounds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Latency figures in milliseconds over all runs of all rounds.

    Parameters
    ----------
    rounds
        Latencies in milliseconds, one sequence a round, in the order of time.

    Returns
    -------
    dict
        `runs`, `rounds`, `median_ms`, `q1_ms`, `q3_ms`, `iqr_ms`, `min_ms`, `mean_ms`, and `p90_ms`,
        `p99_ms`, which are None below 64 and 662 runs.
    """
    runs = np.concatenate([np.asarray(r, dtype=np.float64) for r in rounds])
    q1, median, q3 = np.quantile(runs, [0.25, 0.5, 0.75])
    return {
        "runs": int(runs.size),
        "rounds": len(rounds),
        "median_ms": float(median),
        "q1_ms": float(q1),
        "q3_ms": float(q3),
        "iqr_ms": float(q3 - q1),
        "min_ms": float(runs.min()),
        "mean_ms": float(runs.mean()),
        "p90_ms": float(np.quantile(runs, 0.90)) if runs.size >= P90_SAMPLES else None,
        "p99_ms": float(np.quantile(runs, 0.99)) if runs.size >= P99_SAMPLES else None,
    }


def noise(rounds: Sequence[Sequence[float]], preemptions: float = 0.0) -> dict[str, Any]:
    """Whether the machine held still: drift between the first and last third, spread over rounds, other work.

    Parameters
    ----------
    preemptions
        Involuntary context switches a second while it was measured.

    Returns
    -------
    dict
        `drift` (median of the last third of the runs over that of the first third, minus 1), `cv`
        (standard deviation of the round medians over their mean), `preemptions_per_s`, `verdict` ("quiet"
        or "noisy").
    """
    runs = np.concatenate([np.asarray(r, dtype=np.float64) for r in rounds])
    third = max(1, runs.size // 3)
    drift = float(np.median(runs[-third:]) / np.median(runs[:third]) - 1)
    medians = np.array([np.median(r) for r in rounds])
    cv = float(medians.std(ddof=1) / medians.mean()) if medians.size > 1 else 0.0
    noisy = abs(drift) > NOISY_DRIFT or cv > NOISY_CV or preemptions > NOISY_PREEMPTIONS
    verdict = "noisy" if noisy else "quiet"
    return {"drift": drift, "cv": cv, "preemptions_per_s": preemptions, "verdict": verdict}


@cache
def _student_quantile(df: int) -> float:
    """The t quantile that belongs to `CONFIDENCE`, by simulation: within 1 %, and no need for scipy."""
    draws = np.random.default_rng(0).standard_t(df, size=1 << 18)
    return float(np.quantile(np.abs(draws), CONFIDENCE))


def speedup(baseline: Sequence[float], model: Sequence[float], seed: int = 0) -> dict[str, Any] | None:
    """How many times faster than the baseline, with a 99 % interval; None without a common round.

    The interval is the percentile bootstrap of the mean log ratio over rounds. Its half-widths are
    multiplied by t(n-1) / z * sqrt(n / (n-1)): with a handful of rounds the plain percentile interval is
    too narrow (Hesterberg 2015, "What teachers should know about the bootstrap").

    Parameters
    ----------
    baseline, model
        Median latency of each round, paired: entry i of both was measured in round i.

    Returns
    -------
    dict
        `value` (above 1: faster), `low`, `high` (None with a single round), `confidence`, and `verdict`:
        "faster", "slower", "same" (the interval holds 1 and is narrow) or "inconclusive".
    """
    n = min(len(baseline), len(model))
    if n == 0:
        return None
    logs = np.log(np.asarray(baseline[:n], np.float64)) - np.log(np.asarray(model[:n], np.float64))
    mean = float(logs.mean())
    if n == 1:
        value = math.exp(mean)
        return {
            "value": value,
            "low": None,
            "high": None,
            "confidence": CONFIDENCE,
            "verdict": "inconclusive",
        }
    rng = np.random.default_rng(seed)
    means = rng.choice(logs, size=(RESAMPLES, n)).mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    widen = _student_quantile(n - 1) / _NORMAL_QUANTILE * math.sqrt(n / (n - 1))
    deviations = (np.quantile(means, [tail, 1 - tail]) - mean) * widen
    low, high = (math.exp(min(mean + float(d), 700.0)) for d in deviations)
    return {
        "value": math.exp(mean),
        "low": low,
        "high": high,
        "confidence": CONFIDENCE,
        "verdict": verdict(low, high),
    }


def verdict(low: float, high: float) -> str:
    """What an interval of the speed-up lets one say."""
    if low > 1:
        return "faster"
    if high < 1:
        return "slower"
    return "same" if high / low <= SAME_WIDTH else "inconclusive"
