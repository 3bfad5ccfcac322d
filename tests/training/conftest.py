"""Tiny nets and data, as files that a command names: `nets.py:tiny`, `nets.py:blobs`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

NETS = '''
import os
import time

import torch
from torch import nn


class Slow(nn.Identity):
    """Gives a test the time to kill a run."""

    def forward(self, x):
        time.sleep(float(os.environ.get("LAB_TEST_SLOW", "0")))
        return x


def tiny(classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), Slow(),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, classes),
    )


def blobs():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(160) % 4
    patterns = torch.randn(4, 3, 8, 8, generator=generator)
    images = patterns[labels] + 0.5 * torch.randn(160, 3, 8, 8, generator=generator)
    return (images[:128], labels[:128]), (images[128:], labels[128:])
'''


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the factories `tiny` and `blobs`."""
    path = tmp_path_factory.mktemp("lab") / "nets.py"
    path.write_text(NETS)
    return path


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny nets on a busy machine: threads only wait for each other, here and in processes started here."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
