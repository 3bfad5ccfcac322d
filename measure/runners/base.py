"""The runtimes that can be measured on the CPU, behind one small interface.

A runner is made (which imports its runtime), `load`ed (which is timed), asked for its inputs, and `run`.
Nothing here is imported by the parent: what a worker loads is part of what it measures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from ...errors import InputError, MissingDependencyError
from ...runtime.inputs import Feeds, InputSpec, as_shapes, spec_of
from ...runtime.stock import options as stock_options

#: Name on the command line to the module that must be importable for it.
RUNTIMES = {
    "onnxruntime": "onnxruntime",
    "onnxruntime-stock": "onnxruntime",
    "torch": "torch",
    "torch-compiled": "torch",
    "openvino": "openvino",
}


class Runner(Protocol):
    """A model in a runtime."""

    def load(self) -> None:
        """Make the model ready to run: everything between a file and the first inference."""

    def inputs(self) -> list[InputSpec]:
        """What the model takes."""

    def run(self, feeds: Feeds) -> list[Any]:
        """Outputs as arrays, in the model's order."""


def onnx_inputs(session: Any) -> list[InputSpec]:
    """The inputs of an onnxruntime session.

    Raises
    ------
    UnsupportedError
        If one is of a type that no array holds.
    """
    return [spec_of(value.name, value.shape, value.type) for value in session.get_inputs()]


class OnnxRuntime:
    """onnxruntime, with the operators of sparse-export registered (`stock=False`) or without them."""

    def __init__(self, path: str, threads: int, stock: bool, provider: str = "CPUExecutionProvider") -> None:
        import onnxruntime

        self._path, self._provider = path, provider
        self._options = stock_options(threads=threads, severity=3)
        self._options.inter_op_num_threads = 1
        self._make = onnxruntime.InferenceSession
        self._target = None if stock else _register(self._options)

    def load(self) -> None:
        self._session = self._make(self._path, self._options, providers=[self._provider])
        self._run = self._session.run

    def target(self) -> str | None:
        """Instruction set of our kernels, where they are registered."""
        return self._target

    def inputs(self) -> list[InputSpec]:
        return onnx_inputs(self._session)

    def run(self, feeds: Feeds) -> list[Any]:
        outputs: list[Any] = self._run(None, feeds)
        return outputs


def _register(options: Any) -> str | None:
    """Add the operator library to the session options; the instruction set that its kernels use."""
    import ctypes

    from ...runtime import session

    session.register(options)
    try:
        name = ctypes.CDLL(str(session.library_path())).SparseExportTarget
    except (AttributeError, OSError):
        return None
    name.restype = ctypes.c_char_p
    return str(name().decode()) or None


class Torch:
    """A checkpoint in torch, eager or through torch.compile, on the CPU."""

    def __init__(
        self, path: str, threads: int, compiled: bool, arch: str | None, shape: list[int] | None
    ) -> None:
        import torch

        from ...exporter import checkpoint  # noqa: F401  part of the runtime, not of the load

        torch.set_num_threads(threads)
        self._torch, self._path, self._compiled = torch, path, compiled
        self._arch, self._shape = arch, shape

    def load(self) -> None:
        self._module, self._example = load_module(self._path, self._arch, self._shape)
        if self._compiled:
            self._module = self._torch.compile(self._module)

    def inputs(self) -> list[InputSpec]:
        return torch_inputs(self._example)

    def run(self, feeds: Feeds) -> list[Any]:
        with self._torch.inference_mode():
            output = self._module(*[self._torch.from_numpy(array) for array in feeds.values()])
        return [part.numpy() for part in (output if isinstance(output, tuple | list) else [output])]


def load_module(path: str, arch: str | None, shape: list[int] | None) -> tuple[Any, list[Any]]:
    """A checkpoint as a torch module in evaluation mode, and example inputs for it."""
    from ...exporter import checkpoint
    from ...exporter.trace import resolve as architecture

    shapes = [item[1] if isinstance(item[0], str) else item for item in as_shapes(shape)]
    resolved = architecture.resolve(checkpoint.load(Path(path)), arch, shapes or None, None)
    return resolved.module.eval(), list(resolved.example_inputs)


def torch_inputs(examples: list[Any]) -> list[InputSpec]:
    """Inputs of a module from its examples; the batch is open."""
    return [
        InputSpec(f"input{i}", (None, *example.shape[1:]), str(example.dtype).removeprefix("torch."))
        for i, example in enumerate(examples)
    ]


class OpenVino:
    """OpenVINO on the CPU with its latency hint; `precision` "f32" keeps it from rounding to bfloat16."""

    def __init__(self, path: str, threads: int, precision: str | None = None) -> None:
        import openvino

        self._core, self._path = openvino.Core(), path
        self._config = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        } | ({"INFERENCE_PRECISION_HINT": precision} if precision else {})

    def load(self) -> None:
        self._model = self._core.compile_model(self._path, "CPU", self._config)
        self._request = self._model.create_infer_request()

    def inputs(self) -> list[InputSpec]:
        return [
            InputSpec(
                port.get_any_name(),
                tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape()),
                port.get_element_type().to_dtype().name,
            )
            for port in self._model.inputs
        ]

    def run(self, feeds: Feeds) -> list[Any]:
        results = self._request.infer(feeds, share_inputs=True)
        return [results[port] for port in self._model.outputs]


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
