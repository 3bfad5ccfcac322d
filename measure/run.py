"""`bench` from paths to the judged document: subjects, peers, schedule, accuracy, budgets."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingDependencyError
from . import budgets, document, harness
from .preparing import DENSE_PEER, Progress, with_inputs, with_peers
from .request import Request, check_environment, read_reasons
from .subjects import Options, Subject, from_paths, job


def _silent(text: str, done: int, total: int) -> None:
    return None


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
            subjects, notes = with_peers(subjects, base, request, options, folder, progress)
        options, told = with_inputs(base, options, folder, progress)
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
    measured = harness.measure(subjects, options, folder, lambda text: progress(text, next(steps), total))
    _refuse_failure(measured, base)
    found = document.build(measured, models, base.id, options, command, folder)
    found["notes"] = notes + found["notes"]
    if options.data and not measured.interrupted:
        _add_accuracy(found, subjects, options, progress)
    if options.device == "cuda":
        from .runners import cuda

        found["machine"]["gpu"] = cuda.describe()
    found["budgets"] = budgets.judge(found, request.fail_if_slower, request.max_size, request.max_rss)
    return found


def _refuse_failure(measured: harness.Measured, base: Subject) -> None:
    """Turn a run in which nothing was measured into one error.

    Raises
    ------
    MissingDependencyError, InputError
        By what the processes said, if no given model was measured and nobody interrupted.
    """
    given = [s for s in measured.series if s.subject.origin == "given"]
    if measured.interrupted or any(s.rounds for s in given):
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
