"""Tensors to archive, and an archive there and back."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.utils.prune

from sparse_export.exporter import archive


def pruned(shape: tuple[int, ...], density: float = 0.1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator) * 0.05
    return weight.masked_fill(torch.rand(shape, generator=generator) >= density, 0.0)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape or one.stride() != other.stride():
        return False
    flat = (t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other))
    return bool((next(flat) == next(flat)).all())


def round_trip(value: object, tmp_path: Path, **options: object) -> object:
    source, packed, back = tmp_path / "m.pt", tmp_path / "m.packed.safetensors", tmp_path / "back.pt"
    torch.save(value, source)
    archive.write(source, packed, force=True, **options)
    archive.unpack(packed, back, force=True)
    return torch.load(back, weights_only=True)
