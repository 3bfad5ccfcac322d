"""What a run of `bench` is asked for, and whether this machine can do it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError, MissingDependencyError
from .runners.base import RUNTIMES
from .subjects import Options


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
    calibrate
        What the INT8 peers take their ranges from: an .npz file or a data set of the lab.
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
    calibrate: str | None = None


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
    if request.calibrate and not request.peers:
        raise InputError("--calibrate is for the INT8 that --peers makes; add --peers")
    for given in (options.input, options.data):
        if given and not Path(given).is_file():
            raise InputError(f"{given}: no such file")
    if options.device == "cuda":
        from .runners import cuda

        if request.peers:
            raise InputError("--peers are measured on the CPU; leave out --device cuda")
        cuda.require_gpu()
