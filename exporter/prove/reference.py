"""What a file is held against: the user's own file or module, run as it was given.

NOTES ----- A reference is made of nothing that the exporter changed: an .onnx file is opened by onnxruntime
from where it lies, before its opset is raised, its weights folded or its signs lowered; a module is called
in torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx

from ...errors import InputError
from ...quiet import quiet
from ...runtime.inputs import Feeds
from ...runtime.stock import RunError, Session, said
from ..files.onnx_write import MAX_INLINE_TOTAL, data_bytes, save

#: The relative step of an input that its own last bit is.
_STEP = 2.0**-23
#: Files above this are not loaded a second time without graph optimisations.
_LOOSE_BYTES = 256 << 20


class Reference(Protocol):
    """The source, ready to be run."""

    name: str

    def run(self, feeds: Feeds) -> list[Any]:
        """Outputs in their order; RunError where the source does not take the inputs."""

    def moved(self, feeds: Feeds) -> list[list[Any]]:
        """The outputs computed in other ways that are as right: by what they differ is not decided."""


class OnnxReference:
    """An ONNX model in stock onnxruntime: a file where it lies, or a model that stands for it."""

    def __init__(self, model: Path | onnx.ModelProto, name: str = "onnxruntime", subject: str = "") -> None:
        self.name, self._subject = name, subject
        self._opened: dict[bool, Session] = {}
        self._model: Path | bytes
        if isinstance(model, Path):
            self._model = model
        elif data_bytes(model) <= MAX_INLINE_TOTAL:
            self._model = model.SerializeToString()
        else:  # beyond what a protobuf holds: a file, for as long as this object lives
            self._folder = tempfile.TemporaryDirectory(prefix="sparse-export-")
            self._model = Path(self._folder.name) / "source.onnx"
            save(model, self._model, external_data=True)

    @property
    def path(self) -> Path | None:
        """The file that is run, None where it is a model in memory."""
        return self._model if isinstance(self._model, Path) else None

    def session(self, optimize: bool = True) -> Session:
        """The session, made when it is first needed.

        Raises
        ------
        LoadError
            If onnxruntime does not take the source.
        """
        if optimize not in self._opened:
            self._opened[optimize] = Session(self._model, name=self._subject, optimize=optimize)
        return self._opened[optimize]

    def run(self, feeds: Feeds) -> list[Any]:
        return self.session().run(feeds)

    def plainly(self, feeds: Feeds) -> list[Any] | None:
        """The outputs without graph optimisations, None where that cannot be had."""
        size = len(self._model) if isinstance(self._model, bytes) else self._model.stat().st_size
        if size > _LOOSE_BYTES:
            return None
        return _tried(lambda: self.session(optimize=False).run(feeds))

    def moved(self, feeds: Feeds) -> list[list[Any]]:
        return _known([self.plainly(feeds), *(_tried(partial(self.run, one)) for one in nudged(feeds))])


class TorchReference:
    """A torch module; it takes the feeds in their order."""

    name = "torch"

    def __init__(self, module: Any) -> None:
        self._module = module

    def run(self, feeds: Feeds) -> list[Any]:
        import torch

        try:
            with torch.no_grad():
                arrays = [torch.from_numpy(np.array(array)) for array in feeds.values()]
                return _flat(self._module(*arrays))
        except Exception as error:  # the net's own code runs here, so anything can come out
            raise RunError(f"the module does not take the inputs: {said(error)}") from error

    def moved(self, feeds: Feeds) -> list[list[Any]]:
        import torch

        def plainly() -> list[Any]:
            with quiet(), torch.backends.mkldnn.flags(enabled=False):
                return self.run(feeds)

        return _known([_tried(plainly), *(_tried(partial(self.run, one)) for one in nudged(feeds))])


def _flat(value: Any) -> list[Any]:
    """The tensors of a module's output, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach()
        return [(value.float() if value.dtype == torch.bfloat16 else value).numpy()]
    if value is None:
        return []
    if isinstance(value, bool | int | float):
        return [np.asarray(value)]
    items = value.values() if isinstance(value, dict) else value
    return [array for item in items for array in _flat(item)]


def _tried(run: Callable[[], list[Any]]) -> list[Any] | None:
    try:
        return run()
    except InputError:
        return None


def _known(runs: Sequence[list[Any] | None]) -> list[list[Any]]:
    return [run for run in runs if run is not None]


def nudged(feeds: Feeds) -> list[Feeds]:
    """The inputs with every float moved by up to its last bit, in two ways; none without floats."""
    wide = [name for name, array in feeds.items() if getattr(array, "dtype", np.dtype("O")).kind == "f"]
    wide = [name for name in wide if feeds[name].dtype.itemsize >= 4]
    result = []
    for seed in (1, 2) if wide else ():
        rng = np.random.default_rng(seed)
        moved = dict(feeds)
        for name in wide:
            array = feeds[name]
            steps = rng.uniform(-_STEP, _STEP, array.shape)
            moved[name] = np.asarray(array.astype(np.float64) * (1 + steps)).astype(array.dtype)
        result.append(moved)
    return result
