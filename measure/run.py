"""`bench` from paths to the judged document: subjects, peers, schedule, accuracy, budgets."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingDependencyError
from . import budgets, document, harness, peers
from .runners.base import RUNTIMES
from .subjects import CHECKPOINTS, Options, Subject, from_paths, job

#: Told what happens next, how many steps are done, and of how many (0: not known yet).
Progress = Callable[[str, int, int], None]


#: The dense ONNX model made of a checkpoint: the honest baseline, eager torch being slow for other reasons.
DENSE_PEER = "pfp32"


@dataclass(frozen=True)
class Request:
    """What to compare.

    Parameters
    ----------
    paths
        Files in the order of the table.
    baseline
        The file that the others are compared with, added in front if not in `paths`; None: the first, or
        with peers of a checkpoint, its dense ONNX model.
    runtimes, targets
        Names to force, or None for what fits each file.
    peers
        Whether to add what users would pick instead.
    plan
        What `export --json` printed; its reasons are put beside the layers of packed models.
    fail_if_slower, max_size, max_rss
        Budgets, see `budgets.judge`.
    variants
        What each checkpoint is turned into in torch; None: on a GPU everything, elsewhere nothing.
    """

    paths: tuple[Path, ...]
    baseline: Path | None = None
    runtimes: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    peers: bool = False
    plan: Path | None = None
    fail_if_slower: float | None = None
    max_size: int | None = None
    max_rss: int | None = None
    variants: tuple[str, ...] | None = None


def _silent(text: str, done: int, total: int) -> None:
    return None


def read_reasons(plan: Path | None) -> dict[str, str]:
    """Weight name to the reason of its format.

    Raises
    ------
    InputError
        If the file is no export report.
    """
    if plan is None:
        return {}
    try:
        layers = json.loads(plan.read_text())["layers"]
        return {str(layer["name"]): str(layer["reason"]) for layer in layers}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{plan}: not what `sparse-export export --json` prints ({error!r})") from error


def check_environment(request: Request, options: Options) -> None:
    """Refuse early what this machine cannot measure.

    Raises
    ------
    MissingDependencyError
        If this is not Linux, a runtime that was asked for is not installed, or there is no GPU.
    InputError
        If a file of inputs or data does not exist.
    """
    if not Path("/proc/self/status").exists():
        raise MissingDependencyError("bench needs Linux: it reads the memory of its processes from /proc")
    for runtime in request.runtimes or ():
        if runtime not in RUNTIMES:
            raise InputError(f"unknown runtime '{runtime}'; known: {', '.join(RUNTIMES)}")
        if find_spec(RUNTIMES[runtime]) is None:
            raise MissingDependencyError(
                f"runtime '{runtime}' is not installed: pip install {RUNTIMES[runtime]}"
            )
    for given in (options.input, options.data):
        if given and not Path(given).is_file():
            raise InputError(f"{given}: no such file")
    if options.device == "cuda":
        from .runners import cuda

        if request.peers:
            raise InputError("--peers are measured on the CPU; leave out --device cuda")
        cuda.require_gpu()


def run(request: Request, options: Options, command: str, progress: Progress = _silent) -> dict[str, Any]:
    """Measure and judge; the document of docs/bench.schema.json.

    Raises
    ------
    InputError
        If a file cannot be measured at all (missing, of an unknown kind, not a model).
    MissingDependencyError
        If the environment lacks what was asked for.
    """
    check_environment(request, options)
    reasons = read_reasons(request.plan)
    paths = request.paths
    baseline = request.baseline or paths[0]
    if baseline not in paths:
        paths = (baseline, *paths)
    if options.device == "cuda" or request.variants:
        from .runners import cuda, torch_variants

        subjects = cuda.subjects(paths, request.variants or tuple(torch_variants.VARIANTS))
    else:
        subjects = from_paths(paths, request.runtimes, request.targets)
    base = next(s for s in subjects if s.path == baseline)
    with tempfile.TemporaryDirectory(prefix="sparse-export-bench-") as name:
        folder = Path(name)
        notes: list[str] = []
        if request.peers:
            subjects, notes = _with_peers(subjects, base, request, options, folder, progress)
        options, told = _with_inputs(base, options, folder, progress)
        notes += told
        dense = next((s for s in subjects if s.id == DENSE_PEER), None)
        if dense is not None and request.baseline is None:
            base = dense
            notes.append(
                f"Compared with the dense ONNX model, not with eager torch: {paths[0].name} is a row too."
            )
        found = _measure(subjects, base, request, options, command, folder, notes, progress)
    for layer in (layer for m in found["models"] if m["packed"] for layer in m["layers"]):
        layer["reason"] = reasons.get(layer["name"])
    return found


def _with_peers(
    subjects: list[Subject],
    base: Subject,
    request: Request,
    options: Options,
    folder: Path,
    progress: Progress,
) -> tuple[list[Subject], list[str]]:
    """The subjects with the peers of the baseline behind them, and notes on peers that cannot be made."""
    if base.packed:
        raise InputError(
            f"{base.path}: peers are made from a dense model; give it with --baseline dense.onnx"
        )
    found, notes = list(subjects), []
    dense = base.path
    if dense.suffix in CHECKPOINTS:
        dense = _export_dense(base, options, folder, progress)
        found.append(Subject(DENSE_PEER, "dense ONNX", dense, "onnxruntime", "peer", files=(dense,)))
    if not request.runtimes:
        for subject in subjects:
            if subject.packed and subject.target in (None, *(request.targets or ())[:1]):
                label = f"{subject.path.name} [stock onnxruntime]"
                stock = replace(
                    subject, id=f"{subject.id}s", label=label, runtime="onnxruntime-stock", target=None
                )
                found.append(replace(stock, origin="peer"))
    made = peers.make(dense, folder, options.seed, options.input, lambda text: progress(text, 0, 0))
    for peer, reason in made:
        if peer is None:
            notes.append(reason)
        else:
            found.append(peer)
    return found, notes


def _with_inputs(
    base: Subject, options: Options, folder: Path, progress: Progress
) -> tuple[Options, list[str]]:
    """The options with files of inputs that the baseline takes, the same for all subjects.

    Raises
    ------
    InputError
        If there are none for any batch size.
    """
    progress("looking for inputs", 0, 0)
    order = {
        **job(base, options, 1, 1, 1),
        "find": True,
        "feeds": str(folder),
        "input": options.input,
        "batches": list(options.batch),
    }
    found = harness.run_worker(order, options.timeout)
    if "error" in found:
        family = MissingDependencyError if found["kind"] == "MissingDependencyError" else InputError
        raise family(f"{base.label}: {found['error']}")
    if not found["files"]:
        raise InputError(f"{base.label}: {next(iter(found['errors'].values()))}")
    files = tuple((int(batch), path) for batch, path in found["files"].items())
    errors = tuple((int(batch), text) for batch, text in found["errors"].items())
    told = [f"{base.label}: {found['told']}"] if found["told"] else []
    return replace(options, feeds=files, no_feeds=errors), told


def _export_dense(base: Subject, options: Options, folder: Path, progress: Progress) -> Path:
    """The checkpoint as a dense ONNX file, from which the peers are made.

    Raises
    ------
    InputError
        If it cannot be exported; the message is the exporter's.
    """
    progress("exporting the dense model", 0, 0)
    target = folder / "dense.onnx"
    result = harness.run_worker({**job(base, options, 1, 1, 0), "export": str(target)}, options.timeout)
    if "error" in result:
        raise InputError(
            f"{base.path}: {result['error']}".replace(f"{base.path}: {base.path}", str(base.path))
        )
    return target


def _measure(
    subjects: list[Subject],
    base: Subject,
    request: Request,
    options: Options,
    command: str,
    folder: Path,
    notes: list[str],
    progress: Progress,
) -> dict[str, Any]:
    """Sizes, schedule, accuracy, document and budgets."""
    models: list[dict[str, Any]] = []
    by_files: dict[tuple[Path, ...], dict[str, Any]] = {}
    for subject in subjects:
        progress(f"reading {subject.label}", 0, 0)
        if subject.files not in by_files:
            by_files[subject.files] = document.model_entry(subject, compress=options.device == "cpu")
        models.append({**by_files[subject.files], **document.identity(subject)})
    total = len(subjects) * len(options.threads) * len(options.batch) * options.rounds
    steps = iter(range(total))
    outcome = harness.measure(subjects, options, folder, lambda text: progress(text, next(steps), total))
    _refuse_failure(outcome, base)
    found = document.build(outcome, models, base.id, options, command, folder)
    found["notes"] = notes + found["notes"]
    if options.data and not outcome.interrupted:
        _add_accuracy(found, subjects, options, progress)
    if options.device == "cuda":
        from .runners import cuda

        found["machine"]["gpu"] = cuda.describe()
    found["budgets"] = budgets.judge(found, request.fail_if_slower, request.max_size, request.max_rss)
    return found


def _refuse_failure(outcome: harness.Outcome, base: Subject) -> None:
    """Turn a run in which nothing was measured into one error.

    Raises
    ------
    MissingDependencyError, InputError
        By what the processes said, if no given model was measured and nobody interrupted.
    """
    given = [s for s in outcome.series if s.subject.origin == "given"]
    if outcome.interrupted or any(s.rounds for s in given):
        return
    first = next((s for s in given if s.subject.id == base.id), given[0])
    family = MissingDependencyError if first.error_kind == "MissingDependencyError" else InputError
    raise family(f"{first.subject.label}: {first.error}")


def _add_accuracy(
    found: dict[str, Any], subjects: list[Subject], options: Options, progress: Progress
) -> None:
    """Top-1 accuracy of every subject, written into all rows of it."""
    for subject in subjects:
        progress(f"accuracy of {subject.label}", 0, 0)
        order = {**job(subject, options, max(options.threads), 1, 1), "data": options.data}
        result = harness.run_worker(order, options.timeout)
        for row in found["results"]:
            if row["model"] == subject.id and row["status"] == "ok":
                row["accuracy"] = None if "error" in result else result
        if "error" in result:
            found["notes"].append(f"No accuracy for {subject.label}: {result['error']}")


def broken_budgets(found: dict[str, Any]) -> list[str]:
    """One sentence a broken budget."""
    labels = {m["id"]: m["label"] for m in found["models"]}
    return [budgets.describe(b, labels[b["model"]]) for b in found["budgets"] if not b["passed"]]
