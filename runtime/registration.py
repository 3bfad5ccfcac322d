"""Registering the native operators with session options: all of them, or those that a model uses.

Each operator that is registered costs every session some 40 kB of onnxruntime's memory, all together more
than a small net. Who knows the model registers those of its nodes alone.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingDependencyError
from .library import library_path, loaded

if TYPE_CHECKING:
    import onnxruntime

#: In place of names: every operator that there is.
EVERY = "*"


class Registration:
    """What an object of session options has of the library: a part of it, which grows with its models.

    Parameters
    ----------
    library
        As ctypes holds it.
    operators
        Names of those to begin with.
    """

    def __init__(self, library: ctypes.CDLL, operators: frozenset[str]) -> None:
        self._extend, self.release = library.SparseExportExtend, library.SparseExportRelease
        self._extend.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self.release.argtypes, self.release.restype = [ctypes.c_void_p], None
        select = library.SparseExportSelect
        select.argtypes, select.restype = [ctypes.c_char_p], ctypes.c_void_p
        self.selection = select(_listed(operators))
        if not self.selection:
            raise MemoryError
        self._operators, self._making, self._idle = operators, 0, threading.Condition()

    @contextmanager
    def making(self, operators: frozenset[str]) -> Iterator[None]:
        """While a session is made with these operators; onnxruntime reads their list then.

        Raises
        ------
        MemoryError
            If one cannot be added.
        """
        with self._idle:
            self._idle.wait_for(lambda: not self._making or self._has(operators))
            if not self._has(operators):
                if not self._extend(self.selection, _listed(operators)):
                    raise MemoryError
                self._operators |= operators
            self._making += 1
        try:
            yield
        finally:
            with self._idle:
                self._making -= 1
                self._idle.notify_all()

    def _has(self, operators: frozenset[str]) -> bool:
        return EVERY in self._operators or operators <= self._operators


def _listed(operators: Iterable[str]) -> bytes:
    return ",".join(sorted(operators)).encode()


#: Session options that have the library: with a second one in them onnxruntime refuses to make a session.
_registered: weakref.WeakKeyDictionary[Any, Registration] = weakref.WeakKeyDictionary()
#: Two threads may bring the same options.
_lock = threading.Lock()


def register(session_options: onnxruntime.SessionOptions) -> onnxruntime.SessionOptions:
    """Make sessions created from these options run packed layers with the native operators.

    `InferenceSession` does it by itself, and registers only what its model uses: this takes onnxruntime
    some 7 MB in every session.

    Parameters
    ----------
    session_options
        Changed in place, unless they have been registered with before.

    Returns
    -------
    onnxruntime.SessionOptions
        The same object.

    Raises
    ------
    InputError
        If they are no session options.
    MissingDependencyError
        If the library is missing or this onnxruntime cannot load it.
    """
    with registered(session_options, frozenset([EVERY])):
        return session_options


@contextmanager
def registered(
    session_options: onnxruntime.SessionOptions, operators: frozenset[str] | None
) -> Iterator[None]:
    """While a session is made of these options: they have the native operators of these names.

    Parameters
    ----------
    session_options
        Changed in place.
    operators
        Names; None for all.

    Raises
    ------
    MissingDependencyError
        As `register` says.
    """
    wanted = frozenset([EVERY]) if operators is None else operators
    if not hasattr(session_options, "register_custom_ops_library"):
        raise InputError(f"expected onnxruntime.SessionOptions, not {type(session_options).__name__}")
    with _lock:
        registration = _registered.get(session_options)
        if registration is None and wanted:
            registration = _registered[session_options] = _made(session_options, wanted)
    if registration is None:
        library_path()  # to be missed even by models that need none of it
        yield
        return
    with registration.making(wanted):
        yield


def _made(session_options: onnxruntime.SessionOptions, operators: frozenset[str]) -> Registration:
    path = library_path()
    try:
        registration = Registration(loaded(path), operators)
    except (OSError, AttributeError) as error:  # no library, or one of another version
        raise MissingDependencyError(f"onnxruntime cannot load {path}: {error}") from error
    try:
        session_options.register_custom_ops_library(str(path))
    except Exception as error:  # onnxruntime has no stable base class for its failures
        registration.release(registration.selection)
        raise MissingDependencyError(f"onnxruntime cannot load {path}: {error}") from error
    # The operators themselves stay: only the list dies with the options, which sessions keep alive.
    weakref.finalize(session_options, registration.release, registration.selection).atexit = False
    return registration
