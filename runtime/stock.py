"""Plain sessions of onnxruntime: the one place that makes them, and where its exceptions end.

NOTES
-----
Nothing of onnxruntime's own exceptions leaves this module: a model that does not load is a
`LoadError`, one that refuses its inputs a `RunError`, both of them `InputError`s with onnxruntime's first
line in them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingDependencyError
from ..text import clean, shown
from .inputs import Feeds, InputSpec, spec_of

#: How onnxruntime begins: its name, a number and a code.
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
#: Longest stretch of onnxruntime's own words that a message repeats.
_SAID = 240
#: onnxruntime's level for fatal messages alone: what it refuses comes as an exception.
SILENT = 4


class LoadError(InputError):
    """onnxruntime cannot load the model."""


class RunError(InputError):
    """The model does not take these inputs."""


def said(error: BaseException) -> str:
    """What a runtime says, on one line and without its own prefix."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = clean(lines[0]) if lines else type(error).__name__
    head, mark, tail = text.rpartition("Status Message: ")
    if mark:
        head = head.partition("while running ")[2].strip(" .")
        text = f"{head}: {tail}" if head else tail
    text = _CODE.sub("", text).split(" [ONNXRuntimeError]")[0]
    return text if len(text) <= _SAID else text[: _SAID - 1] + "…"


def options(
    *,
    threads: int = 0,
    optimize: bool = True,
    registered: bool = False,
    severity: int = SILENT,
    written: Path | None = None,
) -> Any:
    """Session options of onnxruntime.

    Parameters
    ----------
    threads
        Within an operator; 0 leaves the choice to onnxruntime.
    optimize
        Whether graph optimisations run; without them nodes are computed one by one, as they are written.
    registered
        Whether the native operators run packed layers.
    written
        Where the graph is written as it is after optimisation.

    Raises
    ------
    MissingDependencyError
        If onnxruntime, or with `registered` the operator library, is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime is not installed: pip install onnxruntime") from error
    made = onnxruntime.SessionOptions()
    made.log_severity_level = severity
    made.intra_op_num_threads = threads
    if written is not None:
        made.optimized_model_filepath = str(written)
    if not optimize:
        made.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if registered:
        from .registration import register

        register(made)
    return made


def opened(source: str | bytes, made: Any, provider: str = "CPUExecutionProvider") -> Any:
    """A session of onnxruntime itself, with whatever it raises: what `Session` and `bench` hold.

    Parameters
    ----------
    made
        As `options` makes them.
    """
    import onnxruntime

    return onnxruntime.InferenceSession(source, made, providers=[provider])


class Session:
    """A model in onnxruntime on the CPU.

    Parameters
    ----------
    model
        Its file, read where it lies so that external data is found, or its bytes.
    name
        What messages call it; by default the file.
    threads, optimize, registered, written
        As `options` takes them.

    Raises
    ------
    LoadError
        If onnxruntime does not take the model.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        name: str = "",
        threads: int = 0,
        optimize: bool = True,
        registered: bool = False,
        written: Path | None = None,
    ) -> None:
        made = options(threads=threads, optimize=optimize, registered=registered, written=written)
        source = model if isinstance(model, bytes) else str(model)
        self.name = name or ("the model" if isinstance(model, bytes) else shown(model))
        try:
            self.raw = opened(source, made)
        except Exception as error:  # onnxruntime has no stable base class for its failures
            raise LoadError(f"{self.name}: onnxruntime cannot load it: {said(error)}") from error

    @property
    def inputs(self) -> list[InputSpec]:
        """What the model takes; initializers that may be overridden are left at their values."""
        return [spec_of(value.name, value.shape, value.type) for value in self.raw.get_inputs()]

    @property
    def outputs(self) -> list[tuple[str, str, int | None]]:
        """Name, type and rank (None: not said) of every output, in order."""
        return [
            (value.name, value.type, len(value.shape) if value.shape else None)
            for value in self.raw.get_outputs()
        ]

    def run(self, feeds: Feeds, seconds: float | None = None) -> list[Any]:
        """Outputs in their order.

        Parameters
        ----------
        seconds
            When to stop, between two nodes; None: never.

        Raises
        ------
        RunError
            If the model refuses the inputs, or takes longer.
        """
        import onnxruntime

        how = onnxruntime.RunOptions()
        how.log_severity_level = SILENT
        with _deadline(how, seconds) as passed:
            try:
                return list(self.raw.run(None, feeds, how))
            except Exception as error:  # as above
                why = f"not done after {seconds:g} s" if passed.is_set() else said(error)
                raise RunError(f"{self.name}: {why}") from error


@contextmanager
def _deadline(how: Any, seconds: float | None) -> Iterator[threading.Event]:
    """Tells onnxruntime to stop once the seconds are over, and says whether it did."""
    passed = threading.Event()
    if seconds is None:
        yield passed
        return

    def stop() -> None:
        passed.set()
        how.terminate = True

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield passed
    finally:
        timer.cancel()
