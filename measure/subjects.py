"""What is measured: a file in a runtime, and the settings that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, UnsupportedError
from ..text import clean

CHECKPOINTS = {".pt", ".pth", ".ckpt", ".bin", ".safetensors"}
_TORCH = ("torch", "torch-compiled")


@dataclass(frozen=True)
class Options:
    """Settings of a whole bench run; every subject is measured at every `threads` x `batch`.

    `feeds` are files of inputs by batch size, `no_feeds` the reasons where none were found.
    """

    threads: tuple[int, ...] = (1,)
    batch: tuple[int, ...] = (1,)
    rounds: int = 8
    warmup: int = 5
    min_runs: int = 50
    min_seconds: float = 3.0
    seed: int = 0
    device: str = "cpu"
    input: str | None = None
    data: str | None = None
    architecture: str | None = None
    input_shape: tuple[Any, ...] | None = None
    timeout: float = 600.0
    feeds: tuple[tuple[int, str], ...] = ()
    no_feeds: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Subject:
    """One row of the comparison.

    Parameters
    ----------
    id
        Short and unique in the run.
    label
        What tables show.
    origin
        "given" (on the command line) or "peer" (made in this run).
    packed
        Whether the file holds nodes of the `sparse_export` domain.
    target
        Instruction set forced by SPARSE_EXPORT_TARGET, or None.
    variant
        What a CUDA run does to the checkpoint ("fp32", "fp16", "compiled", "csr", "2:4"), or None.
    """

    id: str
    label: str
    path: Path
    runtime: str
    origin: str = "given"
    packed: bool = False
    target: str | None = None
    variant: str | None = None
    note: str = ""
    files: tuple[Path, ...] = field(default=())


def is_packed(path: Path) -> bool:
    """Whether the ONNX file calls operators of the `sparse_export` domain."""
    from .onnx_files import read_model

    return any(node.domain == "sparse_export" for node in read_model(path, weights=False).graph.node)


def default_runtimes(path: Path) -> tuple[str, ...]:
    """The runtimes a file is measured in when none is asked for."""
    return ("torch",) if path.suffix in CHECKPOINTS else ("onnxruntime",)


def _applicable(path: Path, runtimes: Sequence[str]) -> tuple[str, ...]:
    """Those of the runtimes that read this kind of file.

    Raises
    ------
    InputError
        If none does.
    """
    if path.suffix in CHECKPOINTS:
        fitting = tuple(r for r in runtimes if r in _TORCH)
    else:
        fitting = tuple(r for r in runtimes if r not in _TORCH)
    if not fitting:
        raise InputError(f"{path}: none of the runtimes {', '.join(runtimes)} reads this kind of file")
    return fitting


def from_paths(
    paths: Sequence[Path],
    runtimes: Sequence[str] | None,
    targets: Sequence[str] | None,
    origin: str = "given",
) -> list[Subject]:
    """The subjects of the given files, in order; a packed file is repeated for every target."""
    from .onnx_files import all_files

    subjects: list[Subject] = []
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        onnx = path.suffix == ".onnx"
        if not onnx and path.suffix not in CHECKPOINTS:
            raise UnsupportedError(
                f"{path}: expected an .onnx model or a checkpoint ({', '.join(sorted(CHECKPOINTS))})"
            )
        packed = onnx and is_packed(path)
        files = tuple(all_files(path)) if onnx else (path,)
        for runtime in _applicable(path, runtimes) if runtimes else default_runtimes(path):
            for target in targets if targets and packed and runtime == "onnxruntime" else [None]:
                label = clean(path.name) + _suffix(
                    runtime, packed, target, bool(runtimes and len(runtimes) > 1)
                )
                subjects.append(
                    Subject(f"m{len(subjects)}", label, path, runtime, origin, packed, target, files=files)
                )
    return subjects


def _suffix(runtime: str, packed: bool, target: str | None, several: bool) -> str:
    """What a label needs besides the file name to be told apart."""
    parts = []
    if several or runtime == "torch-compiled" or (packed and runtime != "onnxruntime"):
        parts.append(runtime)
    if target:
        parts.append(target)
    return f" [{', '.join(parts)}]" if parts else ""


def job(subject: Subject, options: Options, threads: int, batch: int, round_: int) -> dict[str, Any]:
    """The work order of one worker process."""
    from .machine import pinned_cpus

    return {
        "path": str(subject.path),
        "files": [str(path) for path in subject.files],
        "runtime": subject.runtime,
        "packed": subject.packed,
        "device": options.device,
        "variant": subject.variant,
        "threads": threads,
        "batch": batch,
        "cpus": pinned_cpus(threads),
        "cold": round_ % 2 == 0,
        "warmup": options.warmup,
        "min_runs": -(-options.min_runs // options.rounds),
        "min_seconds": options.min_seconds / options.rounds,
        "seed": options.seed,
        "feeds": dict(options.feeds).get(batch),
        "no_feeds": dict(options.no_feeds).get(batch),
        "architecture": options.architecture,
        "input_shape": list(options.input_shape) if options.input_shape else None,
        "target": subject.target,
    }
