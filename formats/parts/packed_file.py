"""One `Packed` as a container: the components are its tensors, the rest is one line of metadata."""

from __future__ import annotations

import io
import json

import numpy as np

from ...errors import CorruptFileError
from ...exporter.files.container import loads, write
from ...exporter.files.container.header import DTYPE_NAMES, DTYPES
from ...exporter.files.container.strict_json import strict_json
from ..base import Packed

KEY = "sparse_export.packed"


def dump(packed: Packed) -> bytes:
    """The bytes of a container that holds the packed tensor."""
    shape, dtype = list(packed.shape), DTYPE_NAMES[packed.dtype]
    line = json.dumps([packed.format, packed.version, shape, dtype, dict(packed.meta)], separators=(",", ":"))
    file = io.BytesIO()
    write(file, packed.components, {KEY: line})
    return file.getvalue()


def load(data: bytes, where: str = "packed tensor") -> Packed:
    """The packed tensor in those bytes; its components are views of them, not yet checked by the format.

    Raises
    ------
    CorruptFileError
        If the container or its metadata line breaks a rule.
    """
    tensors, metadata = loads(data, where)
    if set(metadata) != {KEY}:
        raise CorruptFileError(f"{where}: metadata must be exactly {KEY}")
    line = strict_json(metadata[KEY].encode("utf-8", "surrogatepass"), where)
    if not isinstance(line, list) or len(line) != 5:
        raise CorruptFileError(f"{where}: {KEY} must be [format, version, shape, dtype, meta]")
    name, version, shape, dtype, meta = line
    if type(name) is not str or type(version) is not int or type(meta) is not dict or meta:
        raise CorruptFileError(f"{where}: {KEY} holds a value of a wrong type")
    sizes = isinstance(shape, list) and all(type(n) is int for n in shape)
    if not sizes or not isinstance(dtype, str) or dtype not in DTYPES:
        raise CorruptFileError(f"{where}: {KEY} has a bad shape or dtype")
    components = {key: np.ascontiguousarray(tensors[key]).reshape(tensors[key].shape) for key in tensors}
    return Packed(name, version, tuple(shape), DTYPES[dtype], components)
