"""A small net, saved as a training script would, and what the doctor's note says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparse_export.exporter.checkpoint import Checkpoint


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16, 200))


def saved(tmp_path: Path, value: Any, **options: Any) -> Path:
    path = tmp_path / "model.pt"
    torch.save(value, path, **options)
    return path


def told(loaded: Checkpoint) -> str:
    return "\n".join(f"{note.level}: {note.text}" for note in loaded.notes)
