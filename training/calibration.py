"""Samples of the lab's data sets, to calibrate integers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtime.inputs import read_npz
from . import data


def read(given: str | Path, count: int, shape: Sequence[int]) -> Mapping[str, NDArray[Any]]:
    """Calibration data by input name: the arrays of an .npz file, or images of a data set of the lab.

    Parameters
    ----------
    given
        A file, or as `--data` takes it.
    count
        How many samples of a data set at most.
    shape
        Of the graph's first input, 0 where a size is open: the images get its last one.
    """
    if Path(given).suffix == ".npz" or Path(given).is_file():
        return read_npz(given)
    side = shape[-1] if shape and shape[-1] else 32
    return {"images": samples(str(given), count, side)}


def samples(source: str, count: int, image_size: int) -> NDArray[np.float32]:
    """Images float32 [n, C, H, W] of a data set's training split, drawn by a fixed seed.

    Parameters
    ----------
    source
        As `--data` takes it: digits, folder:DIR, a factory, or cifar10:DIR.
    count
        How many at most.
    """
    name, _, directory = source.partition(":")
    if name == "cifar10":
        loaded = data.load(name, directory or None)
    else:
        loaded = data.load(source, image_size=image_size)
    return drawn(loaded, count)


def drawn(loaded: data.Data, count: int) -> NDArray[np.float32]:
    """Images of the training split, drawn by a fixed seed, as they are evaluated."""
    order = torch.randperm(loaded.train.size, generator=torch.Generator().manual_seed(0))
    images, _ = loaded.train.fetch(order[:count])
    return images.numpy().astype(np.float32)
