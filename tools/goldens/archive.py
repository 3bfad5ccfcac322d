"""Wrote archive-v1.packed.safetensors; run again only for a new version of the layout."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from sparse_export.exporter import archive

HERE = Path(__file__).resolve().parents[2] / "tests" / "golden"


def main() -> None:
    conv = torch.zeros(4, 3, 3, 3)
    conv.view(-1)[::11] = torch.linspace(-1, 1, 10)
    signs = torch.where(torch.arange(48).view(3, 16) % 3 == 0, -1.0, 1.0) * torch.tensor(
        [[0.5], [2.0], [3.0]]
    )
    half = torch.where(torch.arange(100).view(5, 20) % 2 == 0, 1.5, 0.0).half()
    net = {
        "conv.weight": conv,
        "half": half,
        "signs": signs,
        "zeros": torch.tensor([0.0, -0.0] * 3),
        "tied": conv,
    }
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "m.pt"
        torch.save({"net": net, "acc": 91.07, "step": torch.tensor(7)}, source)
        archive.write(source, HERE / "archive-v1.packed.safetensors")


if __name__ == "__main__":
    main()
