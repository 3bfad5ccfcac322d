"""kill -9 in the middle, then the same command again: the same result as a run that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sparse_export import cli
from sparse_export.errors import InputError
from sparse_export.training import runs, train
from sparse_export.training.beginning import DataSpec

PROGRAM = "from sparse_export.cli import main; main()"


def kill_when(arguments: list[str], happened: Callable[[], bool]) -> None:
    """Start the command, slowed down, and kill -9 it as soon as something has happened."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], env=os.environ | {"LAB_TEST_SLOW": "0.1"}
    )
    try:
        deadline = time.monotonic() + 120
        while not happened():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def same_weights(one: Path, other: Path) -> bool:
    a, b = (torch.load(path, weights_only=True) for path in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def lab(nets: Path) -> list[str]:
    return ["--arch", f"{nets}:tiny", "--data", f"{nets}:blobs", "--epochs", "4", "--lr", "0.02", "--quiet"]


def test_a_killed_training_and_retraining_end_with_the_same_weights(nets: Path, tmp_path: Path) -> None:
    alone, pruned = tmp_path / "alone.pt", tmp_path / "pruned.pt"
    assert cli.run(["train", *lab(nets), "-o", str(alone)]) == 0
    assert cli.run(["prune", str(alone), "--arch", f"{nets}:tiny", "--amount", "0.7", "-o", str(pruned)]) == 0
    for number, step in enumerate((["train"], ["retrain", str(pruned)])):
        left, killed = tmp_path / f"left{number}.pt", tmp_path / f"killed{number}.pt"
        assert cli.run([*step, *lab(nets), "-o", str(left)]) == 0
        command = [*step, *lab(nets), "-o", str(killed)]
        state = Path(f"{killed}.resume")
        kill_when(command, state.exists)
        assert not killed.exists()
        assert torch.load(state, weights_only=True)["epoch"] < 4
        assert cli.run(command) == 0
        assert same_weights(left, killed)
        assert not state.exists()


def test_a_killed_sweep_ends_with_the_same_rows_and_computes_none_twice(nets: Path, tmp_path: Path) -> None:
    import json

    def command(folder: Path) -> list[str]:
        ways = [
            "--rates",
            "0:0.9:0.3",
            "--retrain",
            "none,lr-rewind",
            "--retrain-epochs",
            "1",
            "--seeds",
            "1",
        ]
        return ["sweep", *ways, *lab(nets), "-o", str(folder)]

    def rows(folder: Path) -> list[dict[str, object]]:
        found = json.loads((folder / "rows.json").read_text())
        return [{k: v for k, v in row.items() if k != "seconds"} for row in found]

    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert cli.run(command(alone)) == 0
    kill_when(command(killed), lambda: len(list(killed.glob("rows/*.json"))) >= 2)
    before = {path.name: path.stat().st_mtime_ns for path in killed.glob("rows/*.json")}
    assert 2 <= len(before) < 8
    assert cli.run(command(killed)) == 0
    assert rows(killed) == rows(alone)
    after = {path.name: path.stat().st_mtime_ns for path in killed.glob("rows/*.json")}
    assert all(after[name] == stamp for name, stamp in before.items())


def test_a_state_of_other_settings_or_a_damaged_one_is_refused(nets: Path, tmp_path: Path) -> None:
    output, spec = tmp_path / "net.pt", DataSpec(f"{nets}:blobs")
    recipe = train.Recipe(epochs=2, lr=0.02)

    def stop(epoch: int, *_: object) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run_train(output, f"{nets}:tiny", spec, recipe, progress=stop)
    with pytest.raises(InputError, match=r"other settings \(lr\)"):
        runs.run_train(output, f"{nets}:tiny", spec, train.Recipe(epochs=2, lr=0.03))
    Path(f"{output}.resume").write_bytes(b"PK junk")
    with pytest.raises(InputError, match="cannot be read"):
        runs.run_train(output, f"{nets}:tiny", spec, recipe)


def test_an_output_that_exists_is_refused_without_force(nets: Path, tmp_path: Path) -> None:
    output, spec = tmp_path / "net.pt", DataSpec(f"{nets}:blobs")
    output.write_text("precious")
    with pytest.raises(InputError, match="--force"):
        runs.run_train(output, f"{nets}:tiny", spec, train.Recipe(epochs=1))
    assert output.read_text() == "precious"
    runs.run_train(output, f"{nets}:tiny", spec, train.Recipe(epochs=1), force=True, rewind_epoch=1)
    assert same_weights(output, tmp_path / "net.epoch1.pt")
