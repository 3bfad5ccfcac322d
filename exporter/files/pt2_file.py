"""A torch.export program (.pt2): read by our own reader, and handed to torch as a file made anew.

torch.export.load evaluates symbolic sizes as Python (sympy.sympify), finds operators by walking attributes
from the torch module, unpickles constants, and loads every program it finds in the archive. So what it gets
is not the stranger's file, but one of ours with exactly one program, its text parsed and written again, and
tensors whose sizes were proved.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...quiet import quiet
from ...text import shown
from . import budget, payloads, program_text, sandbox
from .container.strict_json import check_depth
from .failures import ours
from .pickles.names import ForbiddenGlobal
from .raw import Raw, Reading
from .zip_file import ZipFile

_PROGRAM = "models/model.json"
_INPUTS = "data/sample_inputs/model.pt"
_CONFIGS = {
    "data/weights/model_weights_config.json": ("data/weights/", re.compile(r"weight_[0-9]{1,6}")),
    "data/constants/model_constants_config.json": ("data/constants/", re.compile(r"tensor_[0-9]{1,6}")),
}
#: Read and written again: nothing in them but a version or an order of bytes.
_PLAIN = {
    "archive_format": (re.compile(rb"pt2"), b"pt2"),
    "archive_version": (re.compile(rb"[0-9]{1,3}"), b"0"),
    "byteorder": (re.compile(rb"little"), b"little"),
    ".data/version": (re.compile(rb"[0-9]{1,3}\n?"), b"3\n"),
}
#: Not handed on: notes of the writer and files that its user added.
_LEFT_OUT = re.compile(r"\.data/serialization_id|version|\.format_version|\.storage_alignment|extra/.+")
_MAX_JSON = 64 << 20


def read(path: Path, reading: Reading) -> Raw:
    """The program, as every reader gives what it reads."""
    return Raw("pt2", program=read_pt2(path, trust=reading.trust), limit=path.stat().st_size)


def read_pt2(path: Path, *, trust: bool) -> Any:
    """The ExportedProgram in the archive.

    Raises
    ------
    InputError
        If loading it would run code and `trust` is off.
    CorruptFileError
        If torch cannot read it.
    """
    import torch._export.serde.serialize
    import torch.export.pt2_archive._package  # noqa: F401 (here, not anew in every child)

    if trust:
        return _load(path, path)
    with ours(path):
        limits, size = budget.current(), path.stat().st_size
        sandbox.run(_probe, path, memory=limits.address_space(size), seconds=limits.time(size), subject=path)
        return _load(path, io.BytesIO(_anew(path)))


def _probe(path: Path) -> None:
    _load(path, io.BytesIO(_anew(path)))


def _load(path: Path, file: Path | io.BytesIO) -> Any:
    import torch

    try:
        with quiet():
            return torch.export.load(file)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # torch's reader raises assertions, key errors, JSON errors and its own
        raise CorruptFileError(
            f"{shown(path)}: torch {torch.__version__} cannot read it: damaged, or from another torch"
        ) from error


def _anew(path: Path) -> bytes:
    """The archive written again, of nothing but what was checked."""
    made = io.BytesIO()
    with ZipFile(path) as archive, zipfile.ZipFile(made, "w") as target:
        for name in archive.members:
            _refuse_strange(archive, name)
        for name, data in _members(archive):
            target.writestr(f"model/{name}", data)
    return made.getvalue()


def _refuse_strange(archive: ZipFile, name: str) -> None:
    if name.startswith("data/aotinductor/"):
        raise UnsupportedError(f"{archive.where}: a compiled AOTInductor package; give the exported program")
    plain = name in _PLAIN or name in _CONFIGS or name in (_PROGRAM, _INPUTS) or _LEFT_OUT.fullmatch(name)
    tensor = any(
        name.startswith(folder) and pattern.fullmatch(name.removeprefix(folder))
        for folder, pattern in _CONFIGS.values()
    )
    if not plain and not tensor:
        raise _danger(archive, f"'{shown(name)}' is no part of a program")


def _danger(archive: ZipFile, what: str) -> InputError:
    return InputError(
        f"{archive.where}: loading it may run code ({what}); if you trust it, use --trust-checkpoint"
    )


def _members(archive: ZipFile) -> Any:
    """Names and contents of the archive to be, in the order of torch's own."""
    for name, (pattern, default) in _PLAIN.items():
        data = archive.read(name) if name in archive.members else default
        if not pattern.fullmatch(data):
            raise CorruptFileError(
                f"{archive.where}: {name} says {shown(data)}: damaged, or from another torch"
            )
        yield name, data
    for config, (folder, payload) in _CONFIGS.items():
        described = _json(archive, config)
        try:
            used = payloads.prove(described, archive, folder, payload)
        except payloads.NotATensor as error:
            raise _danger(archive, str(error)) from None
        for name in used:
            yield folder + name, archive.read(folder + name)
        yield config, json.dumps(described).encode()
    program = _json(archive, _PROGRAM)
    danger = next(program_text.dangers(program), None)
    if danger is not None:
        raise _danger(archive, danger)
    yield _PROGRAM, json.dumps(program).encode()
    yield _INPUTS, _inputs(archive)


def _json(archive: ZipFile, name: str) -> Any:
    if name not in archive.members:
        raise CorruptFileError(f"{archive.where}: {name} is missing: damaged, or from another torch")
    if archive.members[name].size > _MAX_JSON:
        raise UnsupportedError(f"{archive.where}: {name} is over {_MAX_JSON >> 20} MB")
    text = archive.read(name)
    check_depth(text, archive.where)
    return json.loads(text.decode("utf-8"), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key twice")
    return result


def _inputs(archive: ZipFile) -> bytes:
    """The example inputs, read by our own reader of pickles and saved again."""
    import torch

    from .torch_records import read_records

    if _INPUTS not in archive.members:
        raise CorruptFileError(f"{archive.where}: {_INPUTS} is missing: damaged, or from another torch")
    try:
        with ZipFile(archive.where, archive.read(_INPUTS)) as inner:
            value = read_records(inner, mmap=False)
    except ForbiddenGlobal as error:
        raise _danger(archive, f"'{_INPUTS}' is not only tensors: {shown(error.name)}") from None
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()
