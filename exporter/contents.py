"""Looking inside a file: every weight with its format, bytes and density, without exporting anything."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..formats import TensorStats
from . import archive, checkpoint
from .layers import GraphIndex, attributes
from .report import Report


def read(path: Path, *, trust_checkpoint: bool = False) -> Report:
    """The contents of a checkpoint or ONNX file as a report.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    if archive.is_archive(path):
        return _archive_report(path)
    loaded = checkpoint.load(path, trust_checkpoint=trust_checkpoint)
    report = Report(source=str(path), output=None, format=loaded.kind, source_bytes=path.stat().st_size)
    report.notes = [(note.level, note.text) for note in loaded.notes]
    rows = _onnx_rows(loaded.onnx_model) if loaded.onnx_model is not None else _tensor_rows(loaded.tensors)
    report.layers = rows
    return report


def _row(
    name: str, op: str, shape: tuple[int, ...], dtype: str, nnz: int, size: int, **rest: Any
) -> dict[str, Any]:
    facts = {"name": name, "op": op, "shape": list(shape), "dtype": dtype, "nnz": nnz, "size": size}
    return facts | {"density": nnz / size if size else 0.0, "reason": ""} | rest


def _archive_report(path: Path) -> Report:
    """One row a tensor of an archive; packed bytes are its share of the streams it is in."""
    held = archive.info(path)
    report = Report(source=str(path), output=None, format="archive", source_bytes=held.file_bytes)
    report.notes = [("info", note) for note in held.notes]
    for name, facts in held.tensors.items():
        row = _row(
            name, "", tuple(facts["shape"]), facts["dtype"], facts["entries"], math.prod(facts["shape"])
        )
        sizes = {"dense_bytes": facts["dense_bytes"], "packed_bytes": facts["packed_bytes"]}
        report.layers.append(row | sizes | {"format": "archive"})
    return report


def _tensor_rows(tensors: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a tensor of a checkpoint."""
    rows = []
    for name, tensor in tensors.items():
        size, nbytes = tensor.numel(), tensor.numel() * tensor.element_size()
        nnz = int(tensor.count_nonzero()) if size else 0
        dtype = str(tensor.dtype).removeprefix("torch.")
        rows.append(
            _row(
                name,
                "",
                tuple(tensor.shape),
                dtype,
                nnz,
                size,
                format="dense",
                dense_bytes=nbytes,
                packed_bytes=nbytes,
            )
        )
    return rows


def _onnx_rows(model: Any) -> list[dict[str, Any]]:
    """One row a packed weight, then one for each initializer that no packed node reads."""
    from .verify import packed_nodes

    rows, parts_read = [], set()
    for name, (node, fmt, components) in packed_nodes(model).items():
        packed = fmt.from_operator(components, attributes(node))
        fmt.check(packed)
        dense = fmt.unpack(packed)
        stats = TensorStats(dense)
        count = 1 + len(fmt.operator_inputs)
        parts_read.update(node.input[1:count])
        nbytes = sum(int(array.nbytes) for array in components.values())
        rows.append(
            _row(
                name,
                node.op_type,
                stats.shape,
                str(stats.dtype),
                stats.nnz,
                stats.size,
                format=fmt.name,
                dense_bytes=stats.nbytes,
                packed_bytes=nbytes,
            )
        )
    index = GraphIndex(model)
    for name in index.initializers:
        array = index.constant(name)
        if name in parts_read or array is None:
            continue
        op = index.readers[name][0].op_type if index.readers[name] else ""
        nnz = int(np.count_nonzero(array))
        sizes = {"dense_bytes": int(array.nbytes), "packed_bytes": int(array.nbytes)}
        rows.append(
            _row(name, op, array.shape, str(array.dtype), nnz, int(array.size), format="dense", **sizes)
        )
    return rows
