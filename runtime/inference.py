"""`InferenceSession`: onnxruntime's own session, its packed layers on the native operators.

NOTES
-----
This module imports onnxruntime, which the class derives from: reach it through `session` or the package,
whose names are loaded on first use.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from operator import index
from pathlib import Path
from typing import Any, Literal, SupportsIndex

from ..errors import InputError, MissingDependencyError
from ..text import shown
from . import choice, expand
from .library import library_path, loaded
from .memory import give_back
from .registration import registered
from .target import kernel_target

try:
    import onnxruntime
except ImportError as error:
    raise MissingDependencyError("onnxruntime is not installed: pip install onnxruntime") from error

#: Where packed layers run.
PACKED = ("auto", "all", "cpu", "none")
#: Where onnxruntime looks for the data of a model that it gets as bytes.
_FOLDER = "session.model_external_initializers_file_folder_path"
#: Versions before 1.21 look where the program runs.
_VERSION = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
Provider = str | tuple[str, dict[Any, Any]]
#: What computes in the CPU's own memory. Any other provider has a device or a compiler of its own.
CPU_PROVIDERS = frozenset(
    f"{name}ExecutionProvider" for name in ("CPU", "Azure", "Dnnl", "Xnnpack", "ACL", "ArmNN")
)
#: The producer that an exported file names.
PRODUCER = "sparse-export"
#: How onnxruntime begins to say that it does not know one of our operators, nor a function of that name.
_UNKNOWN = "Fatal error: sparse_export:"
_said: set[str] = set()


def _checked(path: Path) -> None:
    """Say of a file that cannot be opened what is wrong with it, in one line.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        if path.is_file():
            return
        problem = "not a file" if path.exists() else "no such file"
    except OSError as error:
        problem = error.strerror or "cannot be opened"
    raise InputError(f"{shown(path)}: {problem}")


def _looks_in(options: Any, folder: Path) -> bool:
    """Whether these options say that the data of a model is in the folder."""
    try:
        return bool(options.get_session_config_entry(_FOLDER) == str(folder))
    except Exception:  # they do not say where; onnxruntime has no stable base class for its failures
        return False


def accelerators(providers: Iterable[Provider], available: Iterable[str]) -> list[str]:
    """The names among `providers` that compute elsewhere than on the CPU and are `available`, in order."""
    # What is neither a name nor a tuple onnxruntime refuses in its own words.
    names = [provider[0] if isinstance(provider, tuple) else provider for provider in providers]
    known = list(available)
    return [name for name in names if name in known and name not in CPU_PROVIDERS]


class InferenceSession(onnxruntime.InferenceSession):  # type: ignore[misc,unused-ignore]
    """An ``onnxruntime.InferenceSession`` that runs packed layers on their packed bytes.

    Parameters
    ----------
    path_or_bytes, sess_options, providers, provider_options, **kwargs
        As onnxruntime takes them. The native operators that the model uses are added to `sess_options`.
    threads
        Threads within an operator; 0 leaves the choice to onnxruntime. Not together with `sess_options`.
    packed
        Which packed layers run on the native operators. "auto": those that are expected, or were measured by
        `sparse-export tune`, to be no slower so than dense on this processor; the others are expanded when
        the session is made. "all": every one, which takes the least memory. "none": the library is not used.

        The native operators are for the CPU: beside a GPU each would copy its input and output and forbid
        CUDA graphs. So where `providers` name an accelerator "auto" expands every layer, and it runs dense
        on the accelerator, which is said once; "cpu" is "auto" for the CPU all the same.

    Raises
    ------
    InputError
        If the file does not exist, the parameters contradict one another, or `sess_options` are none or hold
        the library by a call of its own.
    MissingDependencyError
        If onnxruntime or the library is missing.

    Notes
    -----
    What onnxruntime raises (`NoSuchFile` aside) passes unchanged, as programs written for its class expect.
    """

    _options: Any = None
    _ours: bool = False
    _packed: str = "auto"
    _model: Any = b""

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: onnxruntime.SessionOptions | None = None,
        providers: Sequence[Provider] | None = None,
        provider_options: Sequence[dict[Any, Any]] | None = None,
        *,
        threads: int = 0,
        packed: Literal["auto", "all", "cpu", "none"] = "auto",
        **kwargs: Any,
    ) -> None:
        if packed not in PACKED:
            raise InputError(f"packed={packed!r}: expected {', '.join(map(repr, PACKED))}")
        if isinstance(path_or_bytes, str | os.PathLike):
            _checked(Path(os.fsdecode(path_or_bytes)))
        if not isinstance(threads, SupportsIndex) or not 0 <= index(threads) < 1 << 31:
            raise InputError(f"threads={threads!r}: expected a whole number from 0 on")
        self._ours = not sess_options  # as onnxruntime judges it
        if not sess_options:
            sess_options = onnxruntime.SessionOptions()
            sess_options.intra_op_num_threads = threads
        elif threads:
            raise InputError("threads and sess_options are both given; set sess_options.intra_op_num_threads")
        self._options, self._packed, self._model = sess_options, packed, path_or_bytes
        parameters = (sess_options, providers, provider_options)
        native = self._is_native(providers)
        try:
            self._load(native, *parameters, **kwargs)
            again = not self._accelerators()  # one is there by name, but onnxruntime could not use it
        except Exception as error:  # onnxruntime has no stable base class for its failures
            if native or packed == "none" or _UNKNOWN not in str(error):
                raise
            again = True  # a model without the functions that would expand its layers
        if again and not native and packed != "none":
            self._load(True, *parameters, **kwargs)
            native = True
        give_back()
        self._say(native)

    def _load(self, native: bool, *parameters: Any, **kwargs: Any) -> None:
        """Make the session, its layers that would lose on the native operators expanded."""
        if not native:
            self._make(self._model, *parameters, **kwargs)
            return
        version = self._version()
        found = self._settled()
        if self._ours:  # whoever gives options decides it there
            self._options.enable_cpu_mem_arena = not found.small
        with registered(self._options, found.operators):
            if found.model is not None:
                try:
                    self._make(found.model, *parameters, **kwargs)
                    if self._version() != version:  # its parts would be of two files
                        raise RuntimeError("the file was replaced")
                    # onnxruntime's class would hold these bytes for as long as it lives.
                    self._model_bytes = self._model if isinstance(self._model, bytes) else None
                    self._model_path = None if isinstance(self._model, bytes) else os.fspath(self._model)
                    return
                except InputError:
                    raise
                except Exception:  # as it is, then: what is wrong with it is said of the file itself
                    pass
            self._make(self._model, *parameters, **kwargs)

    def _settled(self) -> choice.Settled:
        """The operators that the model uses, and itself with its losing layers expanded."""
        if not isinstance(self._model, bytes | str | os.PathLike):
            return choice.UNKNOWN
        model = self._model if isinstance(self._model, bytes) else Path(os.fsdecode(self._model)).resolve()
        try:
            dense = expand.by_library(loaded(library_path()))
        except (OSError, AttributeError):  # registering says what is wrong with it
            dense = None
        folder = model.parent if isinstance(model, Path) else None
        mapping = folder is not None and self._may_map() and self._finds_data(folder)
        found = choice.settled(
            model, kernel_target(), choose=self._packed != "all", expand=dense, mapping=mapping
        )
        external = b"location" in (found.model or b"")  # most likely
        if external and folder is not None and not self._finds_data(folder):
            return choice.Settled(found.operators, small=found.small)  # from its path, then, as it is
        return found

    def _may_map(self) -> bool:
        """Whether what onnxruntime is given may lie in the model's own file, and stays in this session."""
        return self._options is not None and os.name == "posix" and not self._options.optimized_model_filepath

    def _finds_data(self, folder: Path) -> bool:
        """Whether onnxruntime finds data in the folder of a model that it gets as bytes.

        It can be told where to look, but not in silence that it shall forget it: options that are given would
        lead the next model, of another folder, to the wrong data. So they are left as they are.
        """
        if self._ours and _VERSION >= (1, 21) and not _looks_in(self._options, folder):
            self._options.add_session_config_entry(_FOLDER, str(folder))
        return _looks_in(self._options, folder)

    def _version(self) -> tuple[int, ...]:
        """What tells whether the file is still the same."""
        if not isinstance(self._model, str | os.PathLike):
            return ()
        found = Path(os.fsdecode(self._model)).stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _make(self, *parameters: Any, **kwargs: Any) -> None:
        """Make the session as onnxruntime does."""
        try:
            super().__init__(*parameters, **kwargs)
        except Exception as error:  # onnxruntime has no stable base class for its failures
            if "Domain already set in registry" not in str(error):
                raise
            raise InputError(
                "these session options already hold the operator library: "
                "leave it to InferenceSession, or add it with sparse_export.register"
            ) from error

    def set_providers(
        self, providers: Sequence[Provider] | None = None, provider_options: Sequence[Any] | None = None
    ) -> None:
        """Make the session anew with these providers, as onnxruntime does; see `packed` for packed layers.

        Operators that were registered stay so: onnxruntime cannot take them out of session options.
        """
        native = self._is_native(providers)
        if not native or self._options is None:
            super().set_providers(providers, provider_options)
        else:
            found = self._settled()
            with registered(self._options, found.operators):
                if found.model is not None:
                    self._model_path, self._model_bytes = None, found.model
                super().set_providers(providers, provider_options)
            if found.model is not None and isinstance(self._model, str | os.PathLike):
                self._model_path, self._model_bytes = os.fspath(self._model), None
        give_back()
        self._say(native)

    def _is_native(self, providers: Sequence[Provider] | None) -> bool:
        """Whether packed layers are to run on the native operators with these providers.

        Providers that are already in the session options have no names to be read: not before the session
        has been made with them.
        """
        if self._packed in ("all", "cpu", "none"):
            return self._packed != "none"
        inside = getattr(self._options, "has_providers", None)  # older versions have no such providers
        if not providers and inside is not None and inside():
            return False
        available = onnxruntime.get_available_providers()
        return not accelerators(providers or available, available)

    def _accelerators(self) -> list[str]:
        """The accelerators that this session really uses."""
        used = self.get_providers()
        return accelerators(used, used)

    def _say(self, native: bool) -> None:
        """Tell once a process that a session beside an accelerator expands its packed layers."""
        found = self._accelerators()
        if native or self._packed == "none" or not found or found[0] in _said:
            return
        if self.get_modelmeta().producer_name != PRODUCER:
            return
        _said.add(found[0])
        warnings.warn(
            f"packed layers are expanded and run on {found[0]}; packed='cpu' keeps them packed, on the CPU",
            stacklevel=3,
        )
