"""ONNX files on disk: reading them, the data files beside them, and their bytes plain and compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import CorruptFileError, InputError

_CHUNK = 1 << 20


def read_model(path: Path, weights: bool = True) -> Any:
    """The parsed model; without `weights` external data is not read.

    Raises
    ------
    CorruptFileError
        If the file is not an ONNX model.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=weights)
    except FileNotFoundError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # protobuf's own exceptions, and onnx's checks of external data
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorruptFileError(f"{path}: not a readable ONNX model ({first})") from error
    if not model.graph.node:
        raise CorruptFileError(f"{path}: the ONNX model has no nodes")
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices


def all_files(path: Path) -> list[Path]:
    """The model file and the external data files that it names, each once.

    Raises
    ------
    CorruptFileError
        If a data file lies outside the folder of the model, or is missing.
    """
    folder = path.parent.resolve()
    files = {path: None}
    for tensor in _tensors(read_model(path, weights=False).graph):
        for entry in tensor.external_data:
            if entry.key == "location":
                data = (folder / entry.value).resolve()
                if folder not in data.parents:
                    raise CorruptFileError(
                        f"{path}: tensor '{tensor.name}' has its data outside the model's folder"
                    )
                if not data.is_file():
                    raise CorruptFileError(f"{path}: data file '{entry.value}' is missing")
                files[data] = None
    return list(files)


def disk_sizes(files: list[Path], compress: bool = True) -> dict[str, int | None]:
    """Bytes of the model on disk, and of the same bytes under gzip -6 and zstd -12.

    Returns
    -------
    dict
        `file`, `external`, `total`, `gzip`, `zstd` (the last two None without `compress`,
        `zstd` without its package too).
    """
    sizes = [path.stat().st_size for path in files]
    packed = (
        {"gzip": None, "zstd": None}
        if not compress
        else {"gzip": _gzip_bytes(files), "zstd": _zstd_bytes(files)}
    )
    return {"file": sizes[0], "external": sum(sizes[1:]), "total": sum(sizes), **packed}


def _chunks(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


def _gzip_bytes(files: list[Path]) -> int:
    compressor = zlib.compressobj(6, wbits=31)
    return sum(len(compressor.compress(chunk)) for chunk in _chunks(files)) + len(compressor.flush())


def _zstd_bytes(files: list[Path]) -> int | None:
    try:
        import zstandard
    except ImportError:  # a bare machine, measured from the tree: one column is missing, not the run
        return None

    # Level 19 is 5 to 15 % smaller and takes a minute for 40 MB of weights: too long for every peer.
    compressor = zstandard.ZstdCompressor(level=12, threads=-1).compressobj()
    return sum(len(compressor.compress(chunk)) for chunk in _chunks(files)) + len(compressor.flush())
