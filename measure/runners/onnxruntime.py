"""onnxruntime on the CPU or another provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...runtime.inputs import Feeds, InputSpec, spec_of
from ...runtime.stock import opened
from ...runtime.stock import options as stock_options

_FOLDER = "session.model_external_initializers_file_folder_path"


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
        # As each makes them by itself: `sparse_export.InferenceSession` does without onnxruntime's arena.
        self._options = stock_options(threads=threads, severity=3, arena=stock)
        self._options.inter_op_num_threads = 1
        if not stock:  # likewise: where the data of a model lies that is given as bytes
            self._options.add_session_config_entry(_FOLDER, str(Path(path).resolve().parent))
        self._packed = None if stock else _packed_session()
        self._target = None if stock else _target()

    def load(self) -> None:
        if self._packed is None:
            self._session = opened(self._path, self._options, self._provider)
        else:  # as a program does it: what would lose here is expanded
            self._session = self._packed(self._path, self._options, [self._provider], packed="cpu")
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
