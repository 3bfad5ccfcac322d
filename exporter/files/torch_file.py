"""Files of torch.save and safetensors: each gives back what the file holds, or one clear error.

NOTES
-----
Without `trust` nothing here runs code from the file, and torch reads no file: our own readers of the zip and
of the pickle make the tensors, on the very bytes that they checked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CorruptFileError, InputError, SparseExportError, UnsupportedError
from ...quiet import quiet
from ...text import shown
from . import budget, sandbox
from .container import Container
from .failures import ours
from .pickles.names import ForbiddenGlobal

if TYPE_CHECKING:
    import torch

#: Modules whose classes make a whole pickled model, as opposed to an attack or stray metadata.
_MODEL_MODULES = ("torch.nn.", "torchvision.", "__main__.", "transformers.", "timm.", "models.")


def read_torch(path: Path, *, zipped: bool, trust: bool, mmap: bool) -> Any:
    """The object that `torch.save` wrote.

    Raises
    ------
    InputError
        If reading it would run code and `trust` is off.
    CorruptFileError
        If the file is truncated or breaks torch's format.
    """
    from . import torch_records

    read = torch_records.read_zip if zipped else torch_records.read_legacy
    try:
        with ours(path):
            limits, size = budget.current(), path.stat().st_size
            if not trust:
                sandbox.run(
                    _probe,
                    read,
                    path,
                    memory=limits.address_space(size),
                    seconds=limits.time(size),
                    subject=path,
                )
            return read(path, mmap)
    except ForbiddenGlobal as error:
        if not trust:
            raise InputError(_untrusted(path, error.name)) from None
    except SparseExportError:
        if not trust:
            raise
    return _read_trusted(path, {"map_location": "cpu", "mmap": mmap and zipped})


def _probe(read: Callable[[Path, bool], Any], path: Path) -> None:
    read(path, True)


def _read_trusted(path: Path, options: dict[str, Any]) -> Any:
    """What torch makes of a file that its owner trusts."""
    import torch

    invariants = torch.sparse.check_sparse_tensor_invariants(enable=True)  # type: ignore[no-untyped-call]
    try:
        with quiet(), invariants:
            return torch.load(path, weights_only=False, **options)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InputError(
            f"{shown(path)}: its pickle needs code that cannot be imported ({shown(error)}); set PYTHONPATH"
            " to that code, or give a state dict and --arch"
        ) from error
    except Exception as error:  # a pickle can raise anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise CorruptFileError(f"{shown(path)}: torch cannot read it: {shown(text)}") from error


def _untrusted(path: Path, wanted: str) -> str:
    what = "holds a whole pickled module" if wanted.startswith(_MODEL_MODULES) else "is not only weights"
    return (
        f"{shown(path)}: {what} (its pickle calls {shown(wanted)}) and reading it runs its code; save a state"
        " dict (torch.save(model.state_dict(), FILE)), or use --trust-checkpoint if you trust the file"
    )


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors of a safetensors file (memory-mapped), and its string metadata.

    Raises
    ------
    CorruptFileError
        If the header breaks a rule of the format.
    UnsupportedError
        If a tensor has a dtype torch cannot hold.
    """
    import safetensors

    try:
        Container(path).close()
        with ours(path, "not a valid safetensors file"), safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except CorruptFileError as error:
        if isinstance(error.__cause__, (AttributeError, KeyError, TypeError)):
            raise UnsupportedError(
                f"{shown(path)}: a tensor has a dtype torch cannot hold: {shown(error.__cause__)}"
            ) from error
        raise
