"""Trained networks of other people, pruned, exported without options, proven and measured against dense.

``python benchmarks/field.py [--only silero] [--rates 0.8 0.9] [--rounds 8] [--targets avx512 avx2]
[--files default] [--no-timing]`` (or ``make field``). Each model is exported three times: as it is, with
``--optimize speed``, and by ``tune``. Each file is run in stock onnxruntime and with the operators
registered, on inputs that fit the model, and compared with the dense file; then the harness of
`sparse-export bench` measures all four in fresh processes that take turns. For avx2 our kernels and
onnxruntime's are both held to AVX2 (`avx2_runtime`). A failure is a row too. Puts its rows into
results/field.json in the place of older ones.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import avx2_runtime
import common
import field_models
import numpy as np
from field_models import FieldModel

from sparse_export.exporter.prove.steps import STEP
from sparse_export.measure import document, harness
from sparse_export.measure.subjects import Options, Subject

COMMAND = [sys.executable, "-c", "import sys; from sparse_export.cli import main; main(sys.argv[1:])"]
#: What is written: name, and the words that ask for it.
FILES = {"default": ["export"], "speed": ["export", "--optimize", "speed"], "tuned": ["tune"]}
#: A file slower than dense, or larger in memory, by more than this breaks a promise.
ALLOWED = 0.05

# Runs the files in one process, each in the runtime it is named with, on the same inputs.
_RUN = """
import sys, numpy as np
from pathlib import Path
from sparse_export.runtime.stock import Session
feeds = dict(np.load(sys.argv[1]))
session = Session(Path(sys.argv[2]), threads=1, registered=sys.argv[3] == "library")
names = [spec.name for spec in session.inputs]
outputs = session.run({name: feeds.get(name, next(iter(feeds.values()))) for name in names})
np.savez(sys.argv[4], *outputs)
"""


def export(
    words: list[str], source: Path, extra: list[str], target: Path, env: dict[str, str]
) -> dict[str, Any]:
    """Exit code, seconds and the error (or the plan) of one export."""
    start = time.perf_counter()
    command = [*COMMAND, *words, str(source), *extra, "--json", "--force", "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    row: dict[str, Any] = {"rc": done.returncode, "seconds": time.perf_counter() - start}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return row | {"error": lines[-1] if lines else "no message"}
    report = json.loads(done.stdout)
    weights = [layer for layer in report["layers"] if layer["format"] != "dense"]
    return row | {"packed": len(weights), "of": len(report["layers"])}


def outputs(file: Path, runtime: str, feeds: Path, folder: Path, env: dict[str, str]) -> list[Any] | str:
    """What a file computes in a process of its own, or the error."""
    result = folder / "outputs.npz"
    words = [sys.executable, "-c", _RUN, str(feeds), str(file), runtime, str(result)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **env})
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    with np.load(result) as arrays:
        return [arrays[name] for name in arrays.files]


def difference(wanted: list[Any], got: list[Any] | str) -> float | str:
    """Largest difference of any output, relative to that output's largest value; or why there is none."""
    if isinstance(got, str):
        return got
    worst = 0.0
    for a, b in zip(wanted, got, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"output is {b.dtype} {b.shape}, not {a.dtype} {a.shape}"
        if not np.isfinite(a.astype(np.float64)).all():
            return "the dense file's outputs are not finite: no evidence"
        gap = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0)
        if gap > STEP:  # a sigmoid near its ends steps by units of 1, however small the largest value is
            worst = max(worst, float(gap / max(np.abs(a).max(initial=0), 1e-30)))
    return worst


@contextmanager
def environment(extra: dict[str, str]) -> Iterator[None]:
    """These variables for this process and those it starts."""
    before = dict(os.environ)
    os.environ.update(extra)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def timing(
    files: dict[str, Path], feeds: Path, rounds: int, seconds: float, env: dict[str, str]
) -> dict[str, Any]:
    """Load, memory and latency of each file, and the speed-up over dense with its interval."""
    subjects = [
        Subject(name, name, path, "onnxruntime", packed=name != "dense", files=(path,))
        for name, path in files.items()
    ]
    options = Options(rounds=rounds, min_seconds=seconds, min_runs=2 * rounds, feeds=((1, str(feeds)),))
    with environment(env):
        outcome = harness.measure(subjects, options)
    found = {}
    for series in outcome.series:
        row = document.result_entry(series, outcome.series[0], 0)
        if row["status"] != "ok":
            found[series.subject.id] = {"error": row["error"]}
            continue
        found[series.subject.id] = {
            "median_ms": row["latency"]["median_ms"],
            "speedup": row["speedup"],
            "load_ms": row["load"]["warm_ms"],
            "private_bytes": int(
                statistics.median(common.private_bytes(one["memory"], "loaded") for one in series.rounds)
            ),
            "noise": row["noise"]["verdict"],
            "target": row["target"],
        }
    return found


def run(item: FieldModel, rate: float, target: str | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row: the model at that rate on that instruction set."""
    source, dense, extra = field_models.make(item, rate)
    env = avx2_runtime.environment(target)
    row: dict[str, Any] = {
        "model": item.name,
        "rate": rate,
        "target": target,
        "source_bytes": source.stat().st_size,
    }
    row["dense_bytes"] = dense.stat().st_size
    done = field_models.HOME / "exported"
    done.mkdir(exist_ok=True)
    written = {"dense": dense}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        feeds = folder / "feeds.npz"
        np.savez(feeds, **item.feeds(0))  # type: ignore[arg-type]
        wanted = outputs(dense, "stock", feeds, folder, env)
        for kind in arguments.files:
            words = FILES[kind]
            path = done / f"{item.name}-{rate:g}.{kind}.onnx"
            path.unlink(missing_ok=True)
            # Whoever asks for speed says for which inputs; the default is told nothing.
            told = extra if kind == "default" else [*_without_shapes(extra), "--input", str(feeds)]
            found = export(words, source, told, path, env)
            if found["rc"] == 0:
                written[kind] = path
                found["bytes"] = path.stat().st_size
                for runtime in ("stock", "library"):
                    found[runtime] = (
                        wanted if isinstance(wanted, str)
                        else difference(wanted, outputs(path, runtime, feeds, folder, env))
                    )  # fmt: skip
            row[kind] = found
            print(line(item.name, rate, kind, row), flush=True)
        if not arguments.no_timing:
            row["timing"] = timing(written, feeds, arguments.rounds, arguments.seconds, env)
            for kind, figures in row["timing"].items():
                print(f"    {kind:8s} {_figures(figures)}", flush=True)
    return row


def _without_shapes(words: list[str]) -> list[str]:
    """The words but for `--input-shape` and what follows it: the inputs themselves say it."""
    at = words.index("--input-shape") if "--input-shape" in words else len(words)
    return words[:at] + words[at + 2 :]


def _figures(figures: dict[str, Any]) -> str:
    if "error" in figures:
        return f"not measured: {figures['error']}"
    quick = figures["speedup"]
    faster = "" if not quick else f"  {quick['value']:.2f}x of dense's speed ({quick['verdict']})"
    memory = figures["private_bytes"] / 1e6
    load = figures["load_ms"] or 0
    return f"{figures['median_ms']:.3f} ms, load {load:.0f} ms, private {memory:.1f} MB{faster}"


def line(name: str, rate: float, kind: str, row: dict[str, Any]) -> str:
    """One export as text."""
    found = row[kind]
    start = f"{name:20s} {rate:.0%} {kind:8s}"
    if found["rc"]:
        return f"{start} exit {found['rc']}: {found['error']}"
    proof = ", ".join(
        f"{runtime} {found[runtime]:.1e}"
        if isinstance(found[runtime], float)
        else f"{runtime} {found[runtime]}"
        for runtime in ("stock", "library")
    )
    ratio = row["dense_bytes"] / found["bytes"]
    return f"{start} {found['packed']}/{found['of']} packed, {ratio:.2f}x smaller, differs by: {proof}"


def broken(rows: list[dict[str, Any]]) -> list[str]:
    """Rows that break a promise: a failure, a bigger file, a difference, a slower `speed` or `tuned` file."""
    found = []
    for row in rows:
        name = f"{row['model']} at {row['rate']:.0%} on {row['target'] or 'this CPU'}"
        for kind in (kind for kind in FILES if kind in row):
            one = row[kind]
            if one["rc"]:
                found.append(f"{name}, {kind}: exit {one['rc']}: {one['error']}")
                continue
            if one["bytes"] > row["dense_bytes"]:
                found.append(f"{name}, {kind}: {one['bytes']:,} B, dense {row['dense_bytes']:,} B")
            for runtime in ("stock", "library"):
                if isinstance(one[runtime], str) or one[runtime] > 1e-3:
                    found.append(f"{name}, {kind}, {runtime}: {one[runtime]}")
            quick = row.get("timing", {}).get(kind, {}).get("speedup")
            if quick and quick["high"] is not None and quick["high"] < 1 - ALLOWED:
                found.append(f"{name}, {kind}: {quick['value']:.2f}x of dense's speed")
            timing = row.get("timing", {})
            held, wanted = (timing.get(file, {}).get("private_bytes") for file in (kind, "dense"))
            if held and wanted and held > wanted * (1 + ALLOWED):
                found.append(f"{name}, {kind}: {held:,} B private, dense {wanted:,} B")
    return found


def _with_older(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the last run with these in their place; files that were left out now stay as they were."""
    key = ("model", "rate", "target")
    path = common.RESULTS / "field.json"
    older = json.loads(path.read_text())["rows"] if path.exists() else []
    found = {tuple(row[name] for name in key): row for row in older}
    for row in rows:
        before = found.get(tuple(row[name] for name in key), {})
        timing = before.get("timing", {}) | row["timing"]
        found[tuple(row[name] for name in key)] = before | row | {"timing": timing}
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.8, 0.9])
    parser.add_argument("--targets", nargs="+", default=[None], help="instruction sets to hold both sides to")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of runs for each file, all rounds together"
    )
    parser.add_argument("--files", choices=FILES, nargs="+", default=list(FILES))
    parser.add_argument("--no-timing", action="store_true", help="export and prove only")
    arguments = parser.parse_args()
    field_models.HOME.mkdir(parents=True, exist_ok=True)
    field_models.fetch()
    rows = [
        run(item, rate, target, arguments)
        for target in arguments.targets
        for item in field_models.MODELS
        if arguments.only in item.name
        for rate in arguments.rates
    ]
    if not arguments.no_timing:
        common.save("field", _with_older(rows))
    problems = broken(rows)
    for problem in problems:
        print(f"broken: {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
