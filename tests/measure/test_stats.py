"""The statistics say no more than the samples allow."""

from __future__ import annotations

import numpy as np
import pytest

from sparse_export.measure import stats


def test_quantiles_of_known_samples() -> None:
    figures = stats.summarize([[1.0, 2.0, 3.0], [4.0, 5.0]])
    assert (figures["median_ms"], figures["iqr_ms"], figures["min_ms"]) == (3.0, 2.0, 1.0)
    assert (figures["runs"], figures["rounds"]) == (5, 2)


@pytest.mark.parametrize(("runs", "p90", "p99"), [(63, False, False), (64, True, False), (662, True, True)])
def test_tail_quantiles_need_enough_samples(runs: int, p90: bool, p99: bool) -> None:
    figures = stats.summarize([np.linspace(1, 2, runs).tolist()])
    assert (figures["p90_ms"] is not None, figures["p99_ms"] is not None) == (p90, p99)


@pytest.mark.parametrize("rounds", [4, 8, 16])
def test_interval_of_equal_models_contains_one_in_19_of_20(rounds: int) -> None:
    rng = np.random.default_rng(rounds)
    held = 0
    for trial in range(200):
        a, b = np.exp(rng.normal(0, 0.03, (2, rounds)))
        ratio = stats.speedup(a.tolist(), b.tolist(), seed=trial)
        assert ratio is not None
        held += ratio["low"] <= 1 <= ratio["high"]
    assert held >= 190


def test_ten_percent_delay_is_slower_under_two_percent_noise() -> None:
    rng = np.random.default_rng(0)
    base, late = np.exp(rng.normal(0, 0.02, (2, 8))) * [[1.0], [1.1]]
    ratio = stats.speedup(base.tolist(), late.tolist())
    assert ratio is not None
    assert ratio["verdict"] == "slower"
    assert ratio["value"] == pytest.approx(1 / 1.1, rel=0.03)


def test_minutes_that_slow_both_models_cancel_in_the_pairs() -> None:
    slow_minutes = np.array([1, 1, 3, 3, 1, 2, 1, 1.5])
    ratio = stats.speedup((2 * slow_minutes).tolist(), slow_minutes.tolist())
    assert ratio is not None
    assert (ratio["low"], ratio["high"]) == (pytest.approx(2), pytest.approx(2))


def test_one_round_gives_a_value_without_an_interval() -> None:
    ratio = stats.speedup([2.0], [1.0])
    assert ratio == {"value": 2.0, "low": None, "high": None, "confidence": 0.99, "verdict": "inconclusive"}


def test_no_common_round_gives_nothing() -> None:
    assert stats.speedup([], []) is None


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(1.01, 2, "faster"), (0.5, 0.99, "slower"), (0.98, 1.02, "same"), (0.8, 1.3, "inconclusive")],
)
def test_verdict_follows_the_interval(low: float, high: float, word: str) -> None:
    assert stats.verdict(low, high) == word


def test_drift_and_spread_make_a_row_noisy() -> None:
    steady = [[1.0, 1.01, 0.99]] * 6
    assert stats.noise(steady)["verdict"] == "quiet"
    assert stats.noise(steady, preemptions=200.0)["verdict"] == "noisy"
    warming = [[1.0 + i / 10] * 3 for i in range(6)]
    assert stats.noise(warming)["drift"] == pytest.approx(1.45 / 1.05 - 1)
    assert stats.noise(warming)["verdict"] == "noisy"
    jumping = [[1.0] * 3, [1.3] * 3] * 3
    assert stats.noise(jumping)["cv"] > stats.NOISY_CV
