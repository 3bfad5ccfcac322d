"""What all tests share: small models and a folder to export into."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

# Two sessions in one process each spin a pool: one thread keeps the suite quick on small machines.
os.environ.setdefault("OMP_NUM_THREADS", "2")
torch.set_num_threads(2)


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded random numbers."""
    return np.random.default_rng(20260101)
