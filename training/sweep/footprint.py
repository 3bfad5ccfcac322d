"""What a sparse net costs: the lab's formula, formats, the archive, positions at their entropy; latency."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import formats
from ...errors import InputError, SparseExportError
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
    import onnxruntime

    from ...exporter import api

    with tempfile.TemporaryDirectory(prefix="sparse-export-") as folder:
        checkpoint, target = Path(folder) / "model.pt", Path(folder) / "model.onnx"
        checkpoints.write(checkpoint, model.state_dict())
        api.export(checkpoint, format=fmt, output=target, arch=arch, input_shape=[(1, *shape)])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = _session(target, options)
        feed = {session.get_inputs()[0].name: np.zeros((1, *shape), np.float32)}
        seconds = []
        for _ in range(runs + 3):
            start = time.perf_counter()
            session.run(None, feed)
            seconds.append(time.perf_counter() - start)
        return target.stat().st_size, float(np.median(seconds[3:])) * 1e3


def _session(path: Path, options: Any) -> Any:
    """Our session where the native library is there, else onnxruntime's own."""
    import onnxruntime

    from ...runtime import session

    try:
        return session.InferenceSession(str(path), options)
    except (SparseExportError, OSError):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def parse_formats(text: str) -> tuple[str, ...]:
    """`csr,auto` as names; raises InputError for an unknown one or none at all."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise InputError("no format named; for example --formats csr,auto")
    check_formats(names)
    return names
