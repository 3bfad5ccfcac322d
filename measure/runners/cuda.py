"""Measuring on an NVIDIA GPU: torch variants of a checkpoint, and onnxruntime's CUDA provider.

Latencies are taken with CUDA events around the forward pass, inputs already on the device. For an ONNX
model the time includes the copies of inputs and outputs, as `session.run` does them. A packed ONNX file
runs through its local functions: the packed weights are expanded on the device.

The variants take another device too: on the CPU its clock times them, and those that need a GPU say so.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import MissingDependencyError, UnsupportedError
from ..inputs import Feeds, InputSpec
from ..onnx_files import all_files
from ..subjects import CHECKPOINTS, Subject, is_packed
from .base import Runner
from .onnxruntime import OnnxRuntime
from .torch import load_module, torch_inputs
from .torch_variants import HALF, VARIANTS, precise, transform


def require_gpu() -> None:
    """Do nothing where there is an NVIDIA GPU that torch can use.

    Raises
    ------
    MissingDependencyError
        In one line: what was looked for, and that everything else works without it.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("--device cuda needs torch: pip install torch") from error
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            f"no NVIDIA GPU that torch {torch.__version__} can use; measure without --device cuda"
        )


def subjects(paths: Sequence[Path], variants: Sequence[str] = tuple(VARIANTS)) -> list[Subject]:
    """These variants of every checkpoint, and every ONNX file in the CUDA provider."""
    found: list[Subject] = []
    for path in paths:
        if path.suffix in CHECKPOINTS:
            for variant in variants:
                name, number = f"{path.name} [{VARIANTS[variant]}]", f"m{len(found)}"
                found.append(Subject(number, name, path, "torch", variant=variant, files=(path,)))
        else:
            packed = is_packed(path)
            label = f"{path.name} [onnxruntime CUDA{', expanded' if packed else ''}]"
            files = tuple(all_files(path))
            number = f"m{len(found)}"
            found.append(Subject(number, label, path, "onnxruntime-stock", packed=packed, files=files))
    return found


def make_runner(job: dict[str, Any]) -> Runner:
    """The runner that a job for a GPU, or for a variant on another device, asks for."""
    if job["runtime"] == "torch":
        shape = job.get("input_shape")
        return TorchVariant(job["path"], job["variant"], job.get("architecture"), shape, job["device"])
    return CudaProvider(job["path"], int(job["threads"]), stock=True, provider="CUDAExecutionProvider")


def describe() -> dict[str, Any] | None:
    """The GPU as JSON: name, compute capability, memory, driver and CUDA versions; None without one."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    properties: Any = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": int(properties.total_memory),
        "multiprocessors": int(properties.multi_processor_count),
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def _driver() -> str | None:
    """Version of the NVIDIA kernel driver, as the kernel tells it."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split()
    except OSError:
        return None
    return next((word for word in words if word.count(".") >= 1 and word[0].isdigit()), None)


def preload() -> None:
    """Let onnxruntime find the CUDA libraries that are Python packages, as torch's are."""
    import onnxruntime

    load = getattr(onnxruntime, "preload_dlls", None)  # from 1.21 on
    if load is not None:
        with suppress(Exception):  # what is missing is said when the provider is not there
            load()


class CudaProvider(OnnxRuntime):
    """onnxruntime on the GPU; refuses to fall back to the CPU in silence."""

    def load(self) -> None:
        preload()
        super().load()
        if "CUDAExecutionProvider" not in self._session.get_providers():
            raise MissingDependencyError("onnxruntime has no CUDA provider: pip install onnxruntime-gpu")


class TorchVariant:
    """A checkpoint on a device in one of `VARIANTS`."""

    def __init__(
        self, path: str, variant: str, arch: str | None, shape: list[int] | None, device: str = "cuda"
    ) -> None:
        import torch

        self._torch, self._path, self._variant = torch, path, variant
        self._arch, self._shape = arch, shape
        self._device, self._on_gpu = torch.device(device), device == "cuda"
        self._graph: Any = None

    def load(self) -> None:
        precise(self._variant)
        module, self._example = load_module(self._path, self._arch, self._shape)
        self._module = transform(module.to(self._device), self._variant)
        if self._on_gpu:
            gc.collect()  # the dense weights that the variant has replaced
            self._torch.cuda.empty_cache()
            self._torch.cuda.synchronize()
            self._torch.cuda.reset_peak_memory_stats()

    def inputs(self) -> list[InputSpec]:
        return torch_inputs(self._example)

    def _tensors(self, feeds: Feeds) -> list[Any]:
        tensors = [self._torch.from_numpy(array).to(self._device) for array in feeds.values()]
        return [t.half() if self._variant in HALF and t.is_floating_point() else t for t in tensors]

    def _forward(self, tensors: list[Any]) -> Any:
        """The module's output; in a graph variant the captured one, whose tensors are used again."""
        if not self._variant.endswith("graph"):
            return self._module(*tensors)
        if self._graph is None:
            self._capture(tensors)
        for kept, given in zip(self._kept, tensors, strict=True):
            if kept is not given:
                kept.copy_(given)
        self._graph.replay()
        return self._output

    def _capture(self, tensors: list[Any]) -> None:
        """Record the forward pass; a few runs on another stream first, as torch asks for."""
        cuda = self._torch.cuda
        if not self._on_gpu:
            raise UnsupportedError("a CUDA graph needs an NVIDIA GPU")
        stream = cuda.Stream()
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream):
            for _ in range(3):
                self._module(*tensors)
        cuda.current_stream().wait_stream(stream)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            self._output = self._module(*tensors)
        self._graph, self._kept = graph, tensors

    def run(self, feeds: Feeds) -> list[Any]:
        with self._torch.inference_mode():
            output = self._forward(self._tensors(feeds))
            parts = output if isinstance(output, tuple | list) else [output]
            return [part.float().cpu().numpy() for part in parts]

    def timed_run(self, feeds: Feeds) -> float:
        """Milliseconds of one forward pass: between two CUDA events, elsewhere by the clock."""
        if not hasattr(self, "_resident"):
            self._resident = self._tensors(feeds) if self._graph is None else self._kept
        with self._torch.inference_mode():
            if not self._on_gpu:
                begin = time.perf_counter()
                self._forward(self._resident)
                return (time.perf_counter() - begin) * 1e3
            event: Any = self._torch.cuda.Event
            start, end = event(enable_timing=True), event(enable_timing=True)
            start.record()
            self._forward(self._resident)
            end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def device_memory(self) -> int:
        """Peak bytes that torch held on the device after loading: weights, and what a run needs."""
        return int(self._torch.cuda.max_memory_allocated()) if self._on_gpu else 0
