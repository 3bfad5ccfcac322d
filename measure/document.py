"""The result of a run as one JSON document (docs/bench.schema.json): figures per series, judged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from . import layers, machine, stats
from .harness import Measured, Series
from .onnx_files import disk_sizes
from .subjects import Options, Subject

SCHEMA = "sparse-export/bench/1"


def identity(subject: Subject) -> dict[str, Any]:
    """What tells a subject apart, as JSON; a peer's temporary path is left out."""
    return {
        "id": subject.id,
        "label": subject.label,
        "path": str(subject.path) if subject.origin == "given" else None,
        "origin": subject.origin,
        "runtime": subject.runtime,
        "packed": subject.packed,
        "target": subject.target,
        "variant": subject.variant,
    }


def model_entry(subject: Subject, compress: bool = True) -> dict[str, Any]:
    """A subject as JSON: what it is, its bytes on disk, and its layers (ONNX only)."""
    sizes = disk_sizes(list(subject.files), compress)
    found: list[dict[str, Any]] | None = None
    breakdown = None
    if subject.path.suffix == ".onnx":
        found, breakdown = layers.read(subject.path, int(sizes["total"] or 0))
    return {**identity(subject), "bytes": sizes, "breakdown": breakdown, "layers": found}


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _load(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Load time: medians over the rounds with the file on disk only, and with it in the page cache."""
    loads = [r["load"] for r in rounds]
    return {
        "cold_ms": _median([x["ms"] for x in loads if x["cold"]]),
        "warm_ms": _median([x["ms"] for x in loads if not x["cold"] and not x["cold_refused"]]),
        "first_run_ms": _median([r["first_ms"] for r in rounds]),
        "cold_refused": any(x["cold_refused"] for x in loads),
    }


def _memory(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Memory of the process, medians over rounds in bytes; `*_added_bytes` leave out the bare runtime."""
    used = [r["memory"] for r in rounds]

    def of(pick: Any) -> int:
        return int(median([pick(u) for u in used]))

    return {
        "peak_bytes": of(lambda u: max(u["before"]["peak"], u["end"]["peak"])),
        "runtime_bytes": of(lambda u: u["before"]["rss"]),
        "load_peak_added_bytes": of(lambda u: max(0, u["loaded"]["peak"] - u["before"]["rss"])),
        "loaded_added_bytes": of(lambda u: u["loaded"]["rss"] - u["before"]["rss"]),
        "steady_added_bytes": of(lambda u: u["first_run"]["rss"] - u["before"]["rss"]),
        "steady_anonymous_bytes": of(lambda u: u["first_run"]["anon"]),
        "steady_file_bytes": of(lambda u: u["first_run"]["file"]),
        "anonymous_added_bytes": of(lambda u: u["first_run"]["anon"] - u["before"]["anon"]),
        "file_added_bytes": of(lambda u: u["first_run"]["file"] - u["before"]["file"]),
        "growth_bytes": of(lambda u: u["end"]["anon"] - u["first_run"]["anon"]),
        "device_bytes": of(lambda u: u["device"]) if all("device" in u for u in used) else None,
    }


def _paired(baseline: Series, series: Series) -> tuple[list[float], list[float]]:
    """Round medians of the rounds that both finished."""
    ours = {r["round"]: median(r["latencies_ms"]) for r in series.rounds}
    theirs = {r["round"]: median(r["latencies_ms"]) for r in baseline.rounds}
    common = sorted(ours.keys() & theirs.keys())
    return [theirs[r] for r in common], [ours[r] for r in common]


def result_entry(series: Series, baseline: Series | None, seed: int) -> dict[str, Any]:
    """One series as JSON: figures where it was measured, the reason where it was not."""
    entry: dict[str, Any] = {
        "model": series.subject.id,
        "threads": series.threads,
        "batch": series.batch,
        "status": "failed" if series.error else "ok" if series.rounds else "not run",
        "error": series.error,
        **dict.fromkeys(
            ("load", "memory", "latency", "noise", "speedup", "throughput", "affinity", "target")
        ),
        "accuracy": None,
        "difference": None,
    }
    if not series.rounds:
        return entry
    latencies = [r["latencies_ms"] for r in series.rounds]
    entry["load"], entry["memory"] = _load(series.rounds), _memory(series.rounds)
    entry["latency"] = {**stats.summarize(latencies), "round_medians_ms": [median(r) for r in latencies]}
    entry["noise"] = stats.noise(latencies, median([r["preemptions_per_s"] for r in series.rounds]))
    entry["throughput"] = 1e3 * series.batch / entry["latency"]["mean_ms"]
    entry["affinity"], entry["target"] = series.rounds[0]["cpus"], series.rounds[0]["target"]
    if baseline is not None and baseline is not series and baseline.rounds:
        entry["speedup"] = stats.speedup(*_paired(baseline, series), seed=seed)
    return entry


def difference(baseline: Path, model: Path) -> dict[str, Any] | None:
    """How far the first outputs of a model are from the baseline's on the same inputs."""
    if not baseline.is_file() or not model.is_file():
        return None
    with np.load(baseline) as a, np.load(model) as b:
        if not a.files or not b.files or a[a.files[0]].shape != b[b.files[0]].shape:
            return None
        wanted, got = (x[x.files[0]].astype(np.float64) for x in (a, b))
    top1 = None
    if wanted.ndim == 2 and wanted.shape[1] > 1:
        top1 = float((wanted.argmax(1) == got.argmax(1)).mean())
    return {
        "max_abs": float(np.abs(wanted - got).max(initial=0)),
        "scale": float(np.abs(wanted).max(initial=0)),
        "top1_agreement": top1,
    }


def build(
    measured: Measured,
    models: list[dict[str, Any]],
    baseline_id: str,
    options: Options,
    command: str,
    outputs: Path | None = None,
) -> dict[str, Any]:
    """The whole document, without budgets and accuracy."""
    bases = {(s.threads, s.batch): s for s in measured.series if s.subject.id == baseline_id}
    results = []
    for series in measured.series:
        base = bases.get((series.threads, series.batch))
        entry = result_entry(series, base, options.seed)
        if outputs and base is not None and base is not series:
            names = (f"{s.subject.id}-{s.batch}.npz" for s in (base, series))
            entry["difference"] = difference(*(outputs / name for name in names))
        results.append(entry)
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": {**machine.describe(), "load_at_end": round(os.getloadavg()[0], 2)},
        "options": {
            "threads": list(options.threads),
            "batch": list(options.batch),
            "rounds": options.rounds,
            "warmup": options.warmup,
            "min_runs": options.min_runs,
            "min_seconds": options.min_seconds,
            "seed": options.seed,
            "device": options.device,
            "input": options.input,
            "data": options.data,
        },
        "baseline": baseline_id,
        "models": models,
        "results": results,
        "budgets": [],
        "notes": notes(results, models),
        "interrupted": measured.interrupted,
    }


def notes(results: list[dict[str, Any]], models: list[dict[str, Any]]) -> list[str]:
    """What a reader must know before believing the figures."""
    labels = {m["id"]: m["label"] for m in models}
    found = []
    noisy = [r for r in results if r["noise"] and r["noise"]["verdict"] == "noisy"]
    if noisy:
        worst = max(noisy, key=lambda r: max(abs(r["noise"]["drift"]), r["noise"]["cv"]))
        drift, spread = worst["noise"]["drift"], worst["noise"]["cv"]
        found.append(
            f"The machine was noisy in {len(noisy)} of {len(results)} rows (worst: {labels[worst['model']]}, "
            f"drift {drift:+.1%}, spread over rounds {spread:.1%}); the intervals include this."
        )
    contended = max((r["noise"]["preemptions_per_s"] for r in noisy), default=0.0)
    if contended > stats.NOISY_PREEMPTIONS:
        found.append(
            f"Other work ran on the measured CPUs: up to {contended:.0f} interruptions a second. "
            "Repeat on an idle machine."
        )
    unclear = [
        labels[r["model"]] for r in results if r["speedup"] and r["speedup"]["verdict"] == "inconclusive"
    ]
    if unclear:
        found.append(f"Too noisy to tell whether faster or slower: {', '.join(dict.fromkeys(unclear))}.")
    if any(r["load"] and r["load"]["cold_refused"] for r in results):
        found.append("The page cache could not be emptied of the files, so cold load times are missing.")
    leaking = [r for r in results if r["memory"] and r["memory"]["growth_bytes"] > 64 << 20]
    for row in leaking:
        grown = row["memory"]["growth_bytes"] / 1e6
        found.append(f"{labels[row['model']]} grew by {grown:.0f} MB while it ran: does it leak?")
    return found
