"""Small torch nets, named on the command line as tests/nets.py:FACTORY."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import prune


class Mixed(nn.Module):
    """1-D and 2-D convolutions with groups, dilation and asymmetric padding, ending in two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU6())
        self.pad = nn.ZeroPad2d((0, 1, 2, 1))
        self.grouped = nn.Conv2d(24, 48, 3, groups=4, dilation=2)
        self.line = nn.Conv1d(48, 32, 5, padding=2, stride=2)
        self.norm = nn.BatchNorm1d(32)
        self.first = nn.Linear(32, 64)
        self.last = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.grouped(self.pad(self.stem(x))))
        x = torch.relu(self.norm(self.line(x.flatten(2))))
        return self.last(torch.relu(self.first(x.mean(2))))


def mixed() -> nn.Module:
    """The net for 3 x 20 x 20 images."""
    return Mixed()


def small() -> nn.Module:
    """Two linear layers for vectors of 64."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def pruned(factory: Callable[[], nn.Module], amount: float = 0.9, seed: int = 0) -> nn.Module:
    """A net with seeded weights, every layer pruned, masks still in, in evaluation mode."""
    torch.manual_seed(seed)
    net = factory()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            prune.l1_unstructured(module, "weight", amount)
    return net.eval()


def classifier(classes: int = 10) -> nn.Module:
    """The least net that learns from 3 x 8 x 8 images."""
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, classes))
