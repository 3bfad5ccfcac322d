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
    """onnxruntime, as `sparse_export.InferenceSession` runs a file (`stock=False`) or as it is."""

    def __init__(self, path: str, threads: int, stock: bool, provider: str = "CPUExecutionProvider") -> None:
        self._path, self._provider = path, provider
        self._threads = threads
        self._options = stock_options(threads=threads, severity=3)
        self._options.inter_op_num_threads = 1
        self._packed = None if stock else _packed_session()
        self._target = None if stock else _target()

    def load(self) -> None:
        if self._packed is None:
            self._session = opened(self._path, self._options, self._provider)
        else:  # as a program does it: what would lose here is expanded
            self._session = self._packed(
                self._path, None, [self._provider], threads=self._threads, packed="cpu"
            )
        self._run = self._session.run

    def target(self) -> str | None:
        """Instruction set of our kernels, where they are registered."""
        return self._target

    def inputs(self) -> list[InputSpec]:
        return onnx_inputs(self._session)

    def run(self, feeds: Feeds) -> list[Any]:
        outputs: list[Any] = self._run(None, feeds)
        return outputs


def _packed_session() -> Any:
    """The session that registers our operators, imported before anything is measured."""
    from ...runtime.inference import InferenceSession

    return InferenceSession


def _target() -> str | None:
    """The instruction set that our kernels use."""
    import ctypes

    from ...runtime import session

    try:
        name = ctypes.CDLL(str(session.library_path())).SparseExportTarget
    except (AttributeError, OSError):
        return None
    name.restype = ctypes.c_char_p
    return str(name().decode()) or None
