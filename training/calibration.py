"""Samples of the lab's data sets, to calibrate integers with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from . import data


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
