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
from onnx import numpy_helper

from ..errors import InputError
from ..quiet import quiet
from ..runtime.inputs import Feeds
from ..runtime.stock import RunError, Session, said
from .files import streamed
from .files.onnx_write import MAX_INLINE_TOTAL, data_bytes, save

#: The relative step of an input that its own last bit is.
_STEP = 2.0**-23
#: Multiples of one over this are round numbers.
_ROUND = 256.0
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
    """An ONNX model in stock onnxruntime: a file where it lies, or a model that stands for it.

    Parameters
    ----------
    model
        What is run.
    graph
        The same as a model with its tensors inside, for nudging its weights; None: they stay.
    name, subject
        What runs it and what it is, for messages.
    """

    def __init__(
        self,
        model: Path | onnx.ModelProto,
        name: str = "onnxruntime",
        subject: str = "",
        graph: onnx.ModelProto | None = None,
    ) -> None:
        self.name, self._subject = name, subject
        self._graph = model if isinstance(model, onnx.ModelProto) else graph
        self._opened: dict[str, Session] = {}
        self._model: Path | bytes
        if isinstance(model, Path):
            self._model = model
        elif data_bytes(model) <= MAX_INLINE_TOTAL:
            self._model = streamed.serialized(model)
        else:  # beyond what a protobuf holds: a file, for as long as this object lives
            self._folder = tempfile.TemporaryDirectory(prefix="sparse-export-")
            self._model = Path(self._folder.name) / "source.onnx"
            save(model, self._model, external_data=True)

    @property
    def path(self) -> Path | None:
        """The file that is run, None where it is a model in memory."""
        return self._model if isinstance(self._model, Path) else None

    def session(self) -> Session:
        """The session, made when it is first needed.

        Raises
        ------
        LoadError
            If onnxruntime does not take the source.
        """
        return self._open("", self._model)

    def _open(self, key: str, model: Path | bytes, optimize: bool = True) -> Session:
        if key not in self._opened:
            self._opened[key] = Session(model, name=self._subject, optimize=optimize)
        return self._opened[key]

    def run(self, feeds: Feeds) -> list[Any]:
        return self.session().run(feeds)

    @property
    def _small(self) -> bool:
        size = len(self._model) if isinstance(self._model, bytes) else self._model.stat().st_size
        return size <= _LOOSE_BYTES and (self._graph is None or data_bytes(self._graph) <= _LOOSE_BYTES)

    def plainly(self, feeds: Feeds) -> list[Any] | None:
        """The outputs without graph optimisations, None where that cannot be had."""
        if not self._small:
            return None
        return _tried(lambda: self._open("plain", self._model, optimize=False).run(feeds))

    def moved(self, feeds: Feeds) -> list[list[Any]]:
        return _known([self.plainly(feeds), *(_tried(partial(self._nudged, feeds, seed)) for seed in (1, 2))])

    def _nudged(self, feeds: Feeds, seed: int) -> list[Any]:
        """The outputs with every float of the inputs and weights moved by up to its last bit."""
        if self._graph is None or not self._small:
            return self.run(nudged(feeds, seed))
        if f"nudged{seed}" in self._opened:
            return self._opened[f"nudged{seed}"].run(nudged(feeds, seed))
        copy = streamed.whole_model(self._graph)
        for place, tensor in enumerate(copy.graph.initializer):
            if tensor.data_type == onnx.TensorProto.FLOAT:
                array = nudge(numpy_helper.to_array(tensor), seed + 10 * place)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return self._open(f"nudged{seed}", copy.SerializeToString()).run(nudged(feeds, seed))


class TorchReference:
    """A torch module; it takes the feeds in their order."""

    name = "torch"

    def __init__(self, module: Any) -> None:
        self._module = module

    def run(self, feeds: Feeds) -> list[Any]:
        return self._called(feeds, self._module)

    def _called(self, feeds: Feeds, module: Callable[..., Any]) -> list[Any]:
        import torch

        try:
            with torch.no_grad():
                return _flat(module(*[torch.from_numpy(np.array(array)) for array in feeds.values()]))
        except Exception as error:  # the net's own code runs here, so anything can come out
            raise RunError(f"the module does not take the inputs: {said(error)}") from error

    def moved(self, feeds: Feeds) -> list[list[Any]]:
        import torch

        def plainly() -> list[Any]:
            with quiet(), torch.backends.mkldnn.flags(enabled=False):
                return self.run(feeds)

        def moved(seed: int) -> list[Any]:
            held = {
                name: torch.from_numpy(nudge(tensor.detach().numpy(), seed + 10 * place))
                for place, (name, tensor) in enumerate(self._module.named_parameters())
                if tensor.dtype == torch.float32
            }
            return self._called(
                nudged(feeds, seed), lambda *arrays: torch.func.functional_call(self._module, held, arrays)
            )

        return _known([_tried(plainly), *(_tried(partial(moved, seed)) for seed in (1, 2))])


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


def nudge(array: Any, seed: int) -> Any:
    """A float array with every value moved by up to its last bit.

    Round numbers stay: 0, 1 or 0.5 are meant exactly, and a mask made of 1 - mask would no longer be one.
    """
    wide = array.astype(np.float64)
    steps = np.random.default_rng(seed).uniform(-_STEP, _STEP, array.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(np.rint(wide * _ROUND) == wide * _ROUND, array, wide * (1 + steps)).astype(
            array.dtype
        )


def nudged(feeds: Feeds, seed: int) -> Feeds:
    """The inputs with every float moved by up to its last bit; narrow ones, whose step is coarse, stay."""
    return {
        name: nudge(array, seed)
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.dtype.itemsize >= 4
        else array
        for name, array in feeds.items()
    }
