"""onnxruntime on the CPU or another provider."""

from __future__ import annotations

from typing import Any

from ...runtime.inputs import Feeds, InputSpec, spec_of
from ...runtime.stock import opened
from ...runtime.stock import options as stock_options


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
        self._path, self._provider = path, provider
        self._options = stock_options(threads=threads, severity=3)
        self._options.inter_op_num_threads = 1
        self._target = None if stock else _register(self._options)

    def load(self) -> None:
        self._session = opened(self._path, self._options, self._provider)
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
