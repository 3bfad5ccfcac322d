"""What a sparse net is as integers: accuracy, agreement, bytes and latency of its quantized file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...runtime.stock import Session
from ...runtime.timing import medians
from .. import calibration, checkpoints
from ..data import Data
from .footprint import session_of
from .task import Settings

#: Images to calibrate on, and to run at once.
_SAMPLES, _BATCH = 256, 32


def measured(
    model: nn.Module, arch: str, settings: Settings, samples: Data, runs: int = 60
) -> dict[str, float]:
    """Columns of a row: what the net is once quantized, on the held-out split; ms at batch 1 on one thread.

    `int8_accuracy` is of the file, run by our operators where the library is there; `int8_agreement` is how
    often it chooses the class that the float net chooses. With latency the same integers dense, in stock
    onnxruntime (`dense_int8_latency_ms`, `dense_int8_bytes`), take turns with the packed ones.
    """
    images, labels = (tensor.numpy() for tensor in samples.test_arrays())
    chosen = _classes_of_net(model, images)
    with tempfile.TemporaryDirectory(prefix="sparse-export-") as folder:
        checkpoint = Path(folder) / "model.pt"
        checkpoints.write(checkpoint, model.state_dict())
        integers = _quantized(checkpoint, arch, samples, images.shape[1:])
        packed = _packed(integers, settings.formats[0])
        files = [packed, *([integers] if settings.latency else [])]
        sessions = [session_of(packed), *(Session(file, threads=1) for file in files[1:])]
        ours = _classes(sessions[0], images)
        row: dict[str, float] = {
            "int8_accuracy": float((ours == labels).mean()),
            "int8_agreement": float((ours == chosen).mean()),
            "int8_bytes": files[0].stat().st_size,
        }
        if settings.latency:
            feeds = {sessions[0].inputs[0].name: images[:1]}
            ours_seconds, dense_seconds = medians(
                [partial(session.raw.run, None, feeds) for session in sessions], rounds=runs, seconds=0
            )
            row |= {"int8_latency_ms": ours_seconds * 1e3, "dense_int8_latency_ms": dense_seconds * 1e3}
            row["dense_int8_bytes"] = files[1].stat().st_size
        return row


def _quantized(checkpoint: Path, arch: str, samples: Data, shape: Sequence[int]) -> Path:
    """The checkpoint as dense integers, quantized on training data, beside it."""
    from ...exporter import api

    target = checkpoint.with_name("integers.onnx")
    api.export(
        checkpoint,
        format="dense",
        output=target,
        arch=arch,
        activations="int8",
        calibrate={"images": calibration.drawn(samples, _SAMPLES)},
        input_shape=[(1, *shape)],
        verify=False,
    )
    return target


def _packed(integers: Path, fmt: str) -> Path:
    """The integers packed, and proved."""
    from ...exporter import api

    target = integers.with_name("packed.onnx")
    api.export(integers, format=fmt, output=target)
    return target


def _classes(session: Session, images: np.ndarray) -> np.ndarray:
    """The class that a file chooses for each image."""
    name = session.inputs[0].name
    outputs = [
        session.run({name: images[start : start + _BATCH]})[0] for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate([np.argmax(output, axis=-1) for output in outputs])


def _classes_of_net(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """The class that the float net chooses for each image."""
    model.eval()
    with torch.no_grad():
        parts = [model(part).argmax(1) for part in torch.split(torch.from_numpy(images), _BATCH)]
    return torch.cat(parts).numpy()
