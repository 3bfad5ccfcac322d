"""The runner that a job asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError, MissingDependencyError
from .base import RUNTIMES, Runner
from .onnxruntime import OnnxRuntime
from .openvino import OpenVino
from .torch import Torch


def make_runner(job: dict[str, Any]) -> Runner:
    """The runner that a job asks for.

    Raises
    ------
    MissingDependencyError
        If the runtime (or the operator library, for a packed file) is not installed.
    """
    path, runtime, threads = str(Path(job["path"])), job["runtime"], int(job["threads"])
    try:
        if job.get("device") == "cuda" or job.get("variant"):
            from . import cuda

            return cuda.make_runner(job)
        if runtime in {"onnxruntime", "onnxruntime-stock"}:
            return OnnxRuntime(path, threads, stock=runtime == "onnxruntime-stock" or not job.get("packed"))
        if runtime in {"torch", "torch-compiled"}:
            compiled = runtime == "torch-compiled"
            return Torch(path, threads, compiled, job.get("architecture"), job.get("input_shape"))
        if runtime == "openvino":
            return OpenVino(path, threads, job.get("precision"))
    except ImportError as error:
        raise MissingDependencyError(f"runtime '{runtime}' is not installed ({error})") from error
    raise InputError(f"unknown runtime '{runtime}'; known: {', '.join(RUNTIMES)}")
