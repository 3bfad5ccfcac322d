"""Timing calls in turn."""

from __future__ import annotations

import time

from sparse_export.runtime.timing import medians


def test_calls_have_their_turns_in_every_round() -> None:
    seen: list[str] = []
    medians([lambda: seen.append("a"), lambda: seen.append("b")], rounds=3, seconds=0)
    assert "".join(seen) == "aabb" + "ab" * 3


def test_a_sample_is_the_time_of_one_call_however_often_it_repeats() -> None:
    calls = 0

    def slow() -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.002)

    (found,) = medians([slow], rounds=3, seconds=0.02)
    assert found >= 0.002
    assert 5 <= calls <= 2 + 3 * 10
