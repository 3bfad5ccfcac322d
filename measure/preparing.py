"""What a run makes before it measures: the peers of its baseline, and inputs for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, MissingDependencyError
from . import harness, peers
from .request import Request
from .subjects import CHECKPOINTS, Options, Subject, job

#: Told what happens next, how many steps are done, and of how many (0: not known yet).
Progress = Callable[[str, int, int], None]

#: The dense ONNX model made of a checkpoint: the honest baseline, eager torch being slow for other reasons.
DENSE_PEER = "pfp32"


def with_peers(
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
    made = peers.make(
        dense, folder, options.seed, options.input, lambda text: progress(text, 0, 0), request.calibrate
    )
    if options.data and not request.calibrate and not options.input:
        notes.append("INT8 is calibrated on seeded inputs; --calibrate gives its accuracy a fair chance.")
    for peer, reason in made:
        if peer is None:
            notes.append(reason)
        else:
            found.append(peer)
    return found, notes


def with_inputs(
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
