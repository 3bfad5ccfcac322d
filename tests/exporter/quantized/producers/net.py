"""The float net that the models of this folder were quantized from, and what they were calibrated on."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """Three convolutions, the last with a residual; pooled and classified; 90 % of most weights are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.a = nn.Conv2d(24, 32, 3, padding=1)
        self.b = nn.Conv2d(32, 32, 3, padding=1)
        self.fc = nn.Linear(32, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(torch.relu(self.stem(x)), 2)
        y = torch.relu(self.a(x))
        z = torch.relu(self.b(y) + y)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(z, 1), 1))  # type: ignore[no-any-return]


def net() -> Net:
    torch.manual_seed(0)
    made = Net().eval()
    with torch.no_grad():
        for layer in (made.a, made.b, made.fc):
            layer.weight.mul_(3)
            cut = layer.weight.abs().flatten().kthvalue(int(0.9 * layer.weight.numel())).values
            layer.weight[layer.weight.abs() <= cut] = 0
    return made


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, 16, 16, generator=generator) for _ in range(4)]
