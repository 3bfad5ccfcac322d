"""Looking inside a file: every weight with its format, bytes and density, without exporting anything."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ...formats import TensorStats
from ...formats.base import Array
from .. import archive, checkpoint
from ..files import budget, shards
from ..files.failures import ours
from ..files.tensors import identity
from ..graph.index import GraphIndex
from .report import Report
from .waterfall import waterfall


def read(path: Path, *, trust_checkpoint: bool = False, compare: bool = False) -> Report:
    """The contents of a checkpoint, ONNX file or archive as a report.

    Parameters
    ----------
    compare
        Also compress the dense tensors with `gzip -6` and `zstd -19`.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    with ours(path):
        return _read(path, trust_checkpoint, compare)


def _read(path: Path, trust_checkpoint: bool, compare: bool) -> Report:
    dense: list[Array]
    if archive.is_archive(path):
        report, dense = _archive_report(path), list(archive.arrays(path).values())
    else:
        loaded = checkpoint.load(path, trust_checkpoint=trust_checkpoint)
        report = Report(source=str(path), output=None, format=loaded.kind, source_bytes=shards.size(path))
        report.notes = [(note.level, note.text) for note in loaded.notes]
        model = loaded.onnx_model
        report.layers, dense = _tensor_rows(loaded.tensors) if model is None else _onnx_rows(model)
    positions = report.packed_bytes if report.packed_bytes != report.dense_bytes else None
    report.waterfall = waterfall(dense, positions=positions, file=report.source_bytes, compare=compare)
    return report


def _row(
    name: str, op: str, shape: tuple[int, ...], dtype: str, nnz: int, size: int, **rest: Any
) -> dict[str, Any]:
    facts = {"name": name, "op": op, "shape": list(shape), "dtype": dtype, "nnz": nnz, "size": size}
    role = "weight" if sum(dim > 1 for dim in shape) > 1 else "parameter"
    return facts | {"density": nnz / size if size else 0.0, "reason": "", "role": role} | rest


def _array(tensor: Any) -> Array:
    """A torch tensor as numpy sees it, bfloat16 as ml_dtypes has it."""
    import ml_dtypes
    import torch

    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)  # type: ignore[no-any-return]
    return tensor.numpy()  # type: ignore[no-any-return]


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


def _tensor_rows(tensors: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Array]]:
    """One row a tensor of a checkpoint, and the tensors as arrays, tied ones once."""
    rows, arrays, seen = [], [], set()
    for name, tensor in tensors.items():
        size, nbytes = tensor.numel(), tensor.numel() * tensor.element_size()
        nnz = int(tensor.count_nonzero()) if size else 0
        dtype = str(tensor.dtype).removeprefix("torch.")
        if identity(tensor) not in seen or not size:
            seen.add(identity(tensor))
            arrays.append(_array(tensor))
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
    return rows, arrays


def _onnx_rows(model: Any) -> tuple[list[dict[str, Any]], list[Array]]:
    """Rows of packed weights, then of initializers that no packed node reads; and all of them dense."""
    from ..prove.compare import packed_nodes
    from ..rewrite.packed_nodes import packed_tensor

    rows, arrays = [], []
    parts_read: set[str] = set()
    left = budget.current().growth(model.ByteSize())
    for name, (one, components) in packed_nodes(model).items():
        packed = packed_tensor(one, components)
        dense = one.fmt.unpack(packed, left)
        left -= dense.nbytes
        stats = TensorStats(dense)
        arrays.append(dense)
        parts_read.update(one.parts.values())
        nbytes = sum(int(array.nbytes) for array in components.values())
        rows.append(
            _row(
                name,
                one.node.op_type,
                stats.shape,
                str(stats.dtype),
                stats.nnz,
                stats.size,
                format=one.fmt.name,
                run=one.run,
                dense_bytes=stats.nbytes,
                packed_bytes=nbytes,
            )
        )
    index = GraphIndex(model)
    for name in index.initializers:
        array = index.constant(name)
        if name in parts_read or array is None:
            continue
        arrays.append(array)
        op = index.readers[name][0].op_type if index.readers[name] else ""
        nnz = int(np.count_nonzero(array))
        sizes = {"dense_bytes": int(array.nbytes), "packed_bytes": int(array.nbytes)}
        rows.append(
            _row(name, op, array.shape, str(array.dtype), nnz, int(array.size), format="dense", **sizes)
        )
    return rows, arrays
