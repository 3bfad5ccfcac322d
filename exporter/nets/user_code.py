"""A net made by the user's own code: `--arch file.py:factory` or `--arch package.module:factory`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...text import shown
from . import torchvision as vision


def load(arch: str) -> Callable[..., torch.nn.Module]:
    """The callable that `file.py:name` or `package.module:name` stands for, checked to make a module."""
    factory = find("--arch", arch)
    name = arch.rpartition(":")[2]
    if isinstance(factory, torch.nn.Module):
        return lambda: factory

    def make(**options: Any) -> torch.nn.Module:
        try:
            module = vision.lending(lambda: factory(**options))
        except Exception as error:
            raise InputError(f"--arch {shown(arch)}: {shown(name)}() failed: {reason(error)}") from error
        if not isinstance(module, torch.nn.Module):
            raise InputError(
                f"--arch {shown(arch)}: {shown(name)}() gave {type(module).__name__}, not a torch.nn.Module"
            )
        return module

    # What `fit` may pass on: the class count is inferred only for factories that take one.
    make.__signature__ = _signature(factory)  # type: ignore[attr-defined]
    return make


def find(option: str, spec: str) -> Callable[..., Any]:
    """The callable that the option's `file.py:name` or `package.module:name` stands for.

    Raises
    ------
    InputError
        If it cannot be imported, or is no callable.
    """
    home, _, name = spec.rpartition(":")
    try:
        source = vision.lending(
            lambda: run_file(Path(home)) if home.endswith(".py") else importlib.import_module(home)
        )
    except InputError:
        raise
    except Exception as error:  # the user's own code may raise anything
        raise InputError(f"{option} {shown(spec)}: cannot import '{shown(home)}': {reason(error)}") from error
    found = getattr(source, name, None)
    if not callable(found):
        raise InputError(f"{option} {shown(spec)}: '{shown(home)}' has no callable '{shown(name)}'")
    return found  # type: ignore[no-any-return]


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory)
    except (TypeError, ValueError):
        return inspect.Signature()


def run_file(path: Path) -> Any:
    """The module that the Python file at `path` makes; files beside it can be imported from it."""
    if not path.is_file():
        raise InputError(f"no such file: {shown(path)}")
    spec = importlib.util.spec_from_file_location(f"sparse_export_arch_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles in the file look themselves up
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def reason(error: Exception) -> str:
    """What went wrong in code that is not ours, as one short line."""
    return f"{type(error).__name__}: {shown(' '.join(str(error).split()))}"
