"""What a sparse net costs: the lab's formula, formats, the archive, positions at their entropy; latency."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ... import formats
from ...errors import InputError, SparseExportError
from ...runtime.stock import Session
from ...runtime.timing import medians
from .. import checkpoints, prune


def _weights(model: nn.Module) -> list[np.ndarray]:
    weights = (module.weight for module in prune.prunable(model).values())
    return [w.detach().contiguous().numpy() for w in weights if isinstance(w, torch.Tensor)]


def check_formats(names: Iterable[str]) -> None:
    """Raise InputError unless every name is a format's, or "auto"."""
    for name in names:
        if name != "auto":
            formats.asked(name)


def packed_bytes(model: nn.Module, names: Iterable[str]) -> dict[str, int]:
    """Format -> bytes of all conv and linear weights, each in that format or dense where that is smaller.

    "auto" takes the smallest of all formats that fit, weight by weight.
    """
    wanted = list(names)
    totals = dict.fromkeys(wanted, 0)
    for weight in _weights(model):
        stats = formats.TensorStats(weight)
        sizes = {"dense": stats.nbytes}
        candidates = formats.packable() if "auto" in wanted else [formats.get(name) for name in wanted]
        for fmt in candidates:
            if fmt.applies_to(stats):
                sizes[fmt.name] = fmt.nbytes(stats)
        for name in wanted:
            best = min(sizes.values()) if name == "auto" else min(sizes.get(name, stats.nbytes), stats.nbytes)
            totals[name] += best
    return totals


def theory_bits(model: nn.Module) -> int:
    """The lab's formula: non-zeros x 32. Bits, not bytes, and not a word about where the non-zeros are."""
    return 32 * prune.count_nonzero(model)[0]


def entropy_bytes(model: nn.Module) -> int:
    """32 bits a non-zero plus the entropy of the positions at each layer's density, n H(p)."""
    bits = 0.0
    for weight in _weights(model):
        nnz = int(np.count_nonzero(weight))
        p = nnz / weight.size
        bits += 32 * nnz
        if 0 < p < 1:
            bits += weight.size * -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    return math.ceil(bits / 8)


def archive_bytes(checkpoint: Path) -> int:
    """Size of the lossless archive of a checkpoint, everything in it included."""
    from ...exporter import archive

    with tempfile.TemporaryDirectory(prefix="sparse-export-") as folder:
        target = Path(folder) / "model.packed.safetensors"
        archive.write(checkpoint, target)
        return target.stat().st_size


def onnx_bytes_and_latency(
    model: nn.Module, arch: str, shape: tuple[int, ...], fmt: str, runs: int = 30
) -> tuple[int, float]:
    """Bytes of the exported, verified ONNX file; its median latency in ms at batch 1 on one thread.

    The file runs with our operators where the native library is built, else in stock onnxruntime.
    """
    from ...exporter import api

    with tempfile.TemporaryDirectory(prefix="sparse-export-") as folder:
        checkpoint, target = Path(folder) / "model.pt", Path(folder) / "model.onnx"
        checkpoints.write(checkpoint, model.state_dict())
        api.export(checkpoint, format=fmt, output=target, arch=arch, input_shape=[(1, *shape)])
        session = session_of(target)
        feed = {session.inputs[0].name: np.zeros((1, *shape), np.float32)}
        (seconds,) = medians([partial(session.raw.run, None, feed)], rounds=runs, seconds=0)
        return target.stat().st_size, seconds * 1e3


def session_of(path: Path) -> Session:
    """With our operators where the native library is there, else onnxruntime alone."""
    try:
        return Session(path, threads=1, registered=True)
    except (SparseExportError, OSError):
        return Session(path, threads=1)


def parse_formats(text: str) -> tuple[str, ...]:
    """`csr,auto` as names; raises InputError for an unknown one or none at all."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise InputError("no format named; for example --formats csr,auto")
    check_formats(names)
    return names
