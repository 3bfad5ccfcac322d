"""What a sparse net is as integers: accuracy, bytes and latency of the file that it is quantized into."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from ...runtime.timing import medians
from .. import calibration, checkpoints
from ..data import Data
from .footprint import session_of
from .task import Settings

#: Images to calibrate on, and to run at once.
_SAMPLES, _BATCH = 256, 32


def measured(
    model: nn.Module, arch: str, settings: Settings, samples: Data, runs: int = 30
) -> dict[str, float]:
    """Columns of a row: accuracy on the held-out split, bytes of the file, ms at batch 1 on one thread."""
    from ...exporter import api

    images, labels = (tensor.numpy() for tensor in samples.test_arrays())
    given = {"images": calibration.drawn(samples, _SAMPLES)}
    with tempfile.TemporaryDirectory(prefix="sparse-export-") as folder:
        checkpoint, target = Path(folder) / "model.pt", Path(folder) / "model.onnx"
        checkpoints.write(checkpoint, model.state_dict())
        api.export(
            checkpoint,
            format=settings.formats[0],
            output=target,
            arch=arch,
            activations="int8",
            calibrate=given,
            input_shape=[(1, *images.shape[1:])],
        )
        session = session_of(target)
        name = session.inputs[0].name
        right = 0
        for start in range(0, len(images), _BATCH):
            outputs = session.run({name: images[start : start + _BATCH]})[0]
            right += int((np.argmax(outputs, axis=-1) == labels[start : start + _BATCH]).sum())
        row: dict[str, float] = {"int8_accuracy": right / len(images), "int8_bytes": target.stat().st_size}
        if settings.latency:
            (seconds,) = medians([partial(session.raw.run, None, {name: images[:1]})], rounds=runs, seconds=0)
            row["int8_latency_ms"] = seconds * 1e3
        return row
