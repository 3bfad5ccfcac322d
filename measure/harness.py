"""The schedule: fresh processes, interleaved over rounds, and what came back from each of them.

In every round each model runs once at each setting. The order is rotated and reversed from round to
round, so that neither a slow minute nor a place in the order favours one model.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..text import one_line
from .subjects import Options, Subject, job

Progress = Callable[[str], None]


@dataclass
class Series:
    """All rounds of one subject at one setting."""

    subject: Subject
    threads: int
    batch: int
    rounds: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    error_kind: str | None = None


@dataclass
class Measured:
    """What a schedule brought: the series, and whether someone pressed Ctrl-C before its end."""

    series: list[Series]
    interrupted: bool = False


def order(count: int, round_: int) -> list[int]:
    """Positions in the order of this round: rotated by the round, every other round backwards."""
    rotated = [(i + round_) % count for i in range(count)]
    return rotated[::-1] if round_ % 2 else rotated


def schedule(series: Sequence[Series], rounds: int) -> Iterator[tuple[int, Series]]:
    """Round and series, one worker process each; the settings follow one another within a round."""
    settings = list(dict.fromkeys((s.threads, s.batch) for s in series))
    for round_ in range(rounds):
        for setting in settings:
            group = [s for s in series if (s.threads, s.batch) == setting]
            for position in order(len(group), round_):
                yield round_, group[position]


def measure(
    subjects: Sequence[Subject],
    options: Options,
    outputs: Path | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Run the whole schedule.

    Parameters
    ----------
    outputs
        Folder that receives the first outputs of each series as `<id>-<batch>.npz`; None: not kept.
    progress
        Called with a label before each worker process.
    """
    series = [Series(s, t, b) for t in options.threads for b in options.batch for s in subjects]
    measured = Measured(series)
    try:
        for round_, one in schedule(series, options.rounds):
            if progress:
                progress(f"{one.subject.label}, round {round_ + 1}/{options.rounds}")
            if one.error:
                continue
            order_ = job(one.subject, options, one.threads, one.batch, round_)
            if outputs and round_ == 0:
                order_["outputs"] = str(outputs / f"{one.subject.id}-{one.batch}.npz")
            if not order_["cold"]:
                _read_through(one.subject.files)
            result = run_worker(order_, options.timeout)
            if "error" in result:
                one.error, one.error_kind = one_line(result["error"]), result.get("kind")
            else:
                one.rounds.append({"round": round_, **result})
    except KeyboardInterrupt:
        measured.interrupted = True
    return measured


def _read_through(paths: Sequence[Path]) -> None:
    """Bring the files into the page cache, outside the process that is measured."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def _environment(order_: dict[str, Any]) -> dict[str, str]:
    """The environment of a worker: thread pools of every library pinned to the same count."""
    env = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        env[name] = str(order_["threads"])
    if order_.get("target"):
        env["SPARSE_EXPORT_TARGET"] = order_["target"]
    return env


def run_worker(order_: dict[str, Any], timeout: float) -> dict[str, Any]:
    """The answer of one fresh process, or `{"error", "kind"}` saying how it ended without one."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"{__package__}.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(order_),
        start_new_session=True,  # Ctrl-C reaches the parent only, which prints what it has
    )
    try:
        answer, talk = process.communicate(json.dumps(order_).encode(), timeout=timeout)
    except subprocess.TimeoutExpired:
        _stop(process)
        return {"error": f"no answer within {timeout:g} s (--timeout)", "kind": "Timeout"}
    except BaseException:
        _stop(process)
        raise
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return {"error": f"the process crashed ({name})", "kind": "Crash"}
    try:
        result: dict[str, Any] = json.loads(answer)
    except ValueError:
        last = talk.decode(errors="replace").strip().splitlines()[-1:]
        told = f": {last[0]}" if last else ""
        return {"error": f"the process ended with code {process.returncode}{told}", "kind": "Crash"}
    return result


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
