"""Sessions that run packed layers on their packed bytes: the library's path, registering it, sessions."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime

LIBRARY_VARIABLE = "SPARSE_EXPORT_LIBRARY"
_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
LIBRARY_NAME = f"libsparse_export_ops{_SUFFIX}"


def library_path() -> Path:
    """The custom-op library's file.

    ``SPARSE_EXPORT_LIBRARY`` names one explicitly. Otherwise it is the one in any folder that holds a part of
    this package, or the newest in-tree build.

    Raises
    ------
    MissingDependencyError
        If there is none.
    """
    forced = os.environ.get(LIBRARY_VARIABLE)
    if forced:
        path = Path(forced)
        if not path.is_file():
            raise MissingDependencyError(f"{LIBRARY_VARIABLE}={forced}: no such file")
        return path.resolve()
    for path in _candidates():
        if path.is_file():
            return path.resolve()
    raise MissingDependencyError(
        f"{LIBRARY_NAME} is not installed; reinstall sparse-export with a C++ compiler, "
        f"or set {LIBRARY_VARIABLE} to a build of it"
    )


def _candidates() -> list[Path]:
    """Places to look, best first: beside this module, installed parts of the package, in-tree builds."""
    here = Path(__file__).resolve().parent
    tree = here.parent
    # build/fuzz is linked with sanitizers, which an ordinary Python cannot load.
    builds = [
        path for path in tree.glob(f"build/*/runtime/native/{LIBRARY_NAME}") if path.parts[-4] != "fuzz"
    ]
    built = sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)
    package = sys.modules[__name__.rpartition(".runtime")[0]]
    installed = [Path(folder) / "runtime" / LIBRARY_NAME for folder in package.__path__]
    site = [Path(folder) / "sparse_export" / "runtime" / LIBRARY_NAME for folder in sys.path if folder]
    return [here / LIBRARY_NAME, *built, *installed, *site]


def register(session_options: onnxruntime.SessionOptions) -> onnxruntime.SessionOptions:
    """Make sessions created from these options run packed layers with the native operators.

    Parameters
    ----------
    session_options
        Changed in place.

    Returns
    -------
    onnxruntime.SessionOptions
        The same object.

    Raises
    ------
    MissingDependencyError
        If the library is missing or this onnxruntime cannot load it.
    """
    path = library_path()
    try:
        session_options.register_custom_ops_library(str(path))
    except Exception as error:  # onnxruntime has no stable base class for its failures
        raise MissingDependencyError(f"onnxruntime cannot load {path}: {error}") from error
    return session_options


class InferenceSession:
    """An ``onnxruntime.InferenceSession`` with the native operators registered.

    Parameters
    ----------
    path
        Model file, or the bytes of one.
    session_options
        Used (and changed: the library is registered) when given.
    threads
        Threads within an operator; 0 leaves the choice to onnxruntime. Ignored with `session_options`.
    providers
        Execution providers; the packed layers run on the CPU.

    Raises
    ------
    InputError
        If the file does not exist.
    MissingDependencyError
        If onnxruntime or the library is missing.

    Notes
    -----
    Every attribute of the wrapped session is available: ``run``, ``get_inputs``, ``io_binding``, ...
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | bytes,
        session_options: onnxruntime.SessionOptions | None = None,
        *,
        threads: int = 0,
        providers: Sequence[Any] = ("CPUExecutionProvider",),
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError("onnxruntime is not installed: pip install onnxruntime") from error
        if not isinstance(path, bytes) and not Path(path).is_file():
            raise InputError(f"{os.fspath(path)}: no such file")
        if session_options is None:
            session_options = onnxruntime.SessionOptions()
            session_options.intra_op_num_threads = threads
        register(session_options)
        model = path if isinstance(path, bytes) else os.fspath(path)
        self.session = onnxruntime.InferenceSession(model, session_options, providers=list(providers))

    def run(
        self, output_names: Sequence[str] | None, feeds: dict[str, Any], run_options: Any = None
    ) -> list[Any]:
        """Outputs for these inputs, as ``onnxruntime.InferenceSession.run`` gives them."""
        return list(self.session.run(output_names, feeds, run_options))

    def __getattr__(self, name: str) -> Any:
        if name == "session":  # only reached when __init__ failed
            raise AttributeError(name)
        return getattr(self.session, name)
