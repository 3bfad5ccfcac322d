"""The schedule is fair, and no measured process can end the run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from sparse_export.measure import harness
from sparse_export.measure.subjects import Options, from_paths

from .small_models import chain

QUICK = Options(rounds=2, warmup=1, min_runs=4, min_seconds=0.0)


def test_every_model_takes_every_place_in_the_order() -> None:
    orders = [harness.order(3, round_) for round_ in range(6)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert {order[0] for order in orders} == {0, 1, 2}
    assert {order[-1] for order in orders} == {0, 1, 2}


def test_all_models_of_a_setting_run_within_each_round(models: dict[str, Path]) -> None:
    subjects = from_paths([models["dense"], models["sparse"]], None, None)
    series = [harness.Series(s, 1, b) for b in (1, 2) for s in subjects]
    steps = [(r, s.batch, s.subject.id) for r, s in harness.schedule(series, 3)]
    assert len(steps) == len(set(steps)) == 12
    assert [(r, b) for r, b, _ in steps[::2]] == [(r, b) for r in range(3) for b in (1, 2)]


def test_measures_load_memory_and_latency(models: dict[str, Path]) -> None:
    measured = harness.measure(from_paths([models["dense"]], None, None), QUICK)
    (series,) = measured.series
    assert series.error is None
    assert len(series.rounds) == 2
    first = series.rounds[0]
    assert len(first["latencies_ms"]) >= 2
    assert first["load"]["ms"] > 0
    used = first["memory"]
    assert used["end"]["peak"] >= used["loaded"]["rss"] > used["before"]["anon"] > 0
    assert len(first["cpus"]) == 1


def test_one_round_is_cold_and_the_next_is_warm(models: dict[str, Path]) -> None:
    measured = harness.measure(from_paths([models["dense"]], None, None), QUICK)
    cold, warm = (r["load"] for r in measured.series[0].rounds)
    assert cold["cold"] or cold["cold_refused"]
    assert not warm["cold"]
    assert not warm["cold_refused"]


def test_allocating_model_shows_in_the_peak(models: dict[str, Path]) -> None:
    plain, hungry = from_paths([models["dense"], models["allocating"]], None, None)
    peaks = []
    for subject in (plain, hungry):
        series = harness.measure([subject], Options(rounds=1, warmup=0, min_runs=2, min_seconds=0)).series[0]
        peaks.append(series.rounds[0]["memory"]["end"]["peak"])
    assert peaks[1] - peaks[0] > 290e6


@pytest.mark.parametrize(("ending", "said"), [("kill -SEGV $$", "crashed (SIGSEGV)"), ("exit 7", "code 7")])
def test_crash_becomes_a_row(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, said: str
) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{ending}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    measured = harness.measure(from_paths([models["dense"]], None, None), QUICK)
    assert said in str(measured.series[0].error)


def test_process_that_hangs_is_stopped(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nsleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert harness.run_worker({"threads": 1}, timeout=0.2)["kind"] == "Timeout"


def test_fixed_batch_is_an_error_of_that_row_only(models: dict[str, Path]) -> None:
    options = Options(batch=(1, 2), rounds=1, warmup=0, min_runs=1, min_seconds=0)
    one, two = harness.measure(from_paths([models["fixed"]], None, None), options).series
    assert one.error is None
    assert two.error == "input 'h0' has a fixed batch of 1; batch 2 cannot be measured"


def test_names_in_a_file_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = chain(tmp_path / "evil\x1b[2J.onnx", batch=1)
    model = onnx.load(path)
    model.graph.input[0].name = model.graph.node[0].input[0] = "h\x1b[2J"
    onnx.save(model, path)
    options = Options(batch=(2,), rounds=1, warmup=0, min_runs=1, min_seconds=0)
    (series,) = harness.measure(from_paths([path], None, None), options).series
    assert "fixed batch" in str(series.error)
    assert f"{series.subject.label}{series.error}".isprintable()


def test_interrupt_keeps_what_is_measured(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([{"latencies_ms": [1.0]}] * 2)

    def worker(*_: Any) -> dict[str, Any]:
        try:
            return next(calls)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(harness, "run_worker", worker)
    measured = harness.measure(from_paths([models["dense"], models["sparse"]], None, None), QUICK)
    assert measured.interrupted
    assert [len(s.rounds) for s in measured.series] == [1, 1]
