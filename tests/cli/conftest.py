"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .. import nets


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A pruned state dict with its masks still in."""
    path = tmp_path / "model.pt"
    torch.save(nets.pruned(nets.small).state_dict(), path)
    return path
