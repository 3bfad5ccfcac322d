"""The lab's two CIFAR nets, and any other by name: `vgg11-cifar`, `resnet18`, `file.py:factory`.

Module names follow the public CIFAR training script that the lab used (`features.0`, `classifier`,
`dense1.0.conv1`, `linear`), so that its checkpoints load unchanged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from ...errors import InputError
from . import torchvision as vision
from . import user_code

VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")


class Sign(nn.Module):
    """+1 for x >= 0, else -1; in training the gradient passes straight through where |x| <= 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return torch.where(x >= 0, 1.0, -1.0)
        clipped = x.clamp(-1, 1)
        return clipped + (torch.where(x >= 0, 1.0, -1.0) - clipped).detach()


class VGG(nn.Module):
    """3x3 convolutions, each with BatchNorm and ReLU, 2x2 max pools between; one linear layer."""

    def __init__(self, num_classes: int = 10, binary_activations: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(*(_xnor_layers() if binary_activations else _vgg_layers()))
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))  # type: ignore[no-any-return]


def _vgg_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG11:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
    return layers


def _xnor_layers() -> list[nn.Module]:
    """The same convolutions in XNOR-Net's order BatchNorm, sign, convolution; the first stays float."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1)]
    channels = 64
    for width in VGG11[1:]:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.BatchNorm2d(channels), Sign(), nn.Conv2d(channels, width, 3, padding=1)]
            channels = width
    return [*layers, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class Bottleneck(nn.Module):
    """BatchNorm, ReLU, 1x1 to 4 x growth; BatchNorm, ReLU, 3x3 to growth; concatenated before x."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        return torch.cat([self.conv2(F.relu(self.bn2(out))), x], 1)


class Transition(nn.Module):
    """Half the channels, half the width."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


class DenseNet(nn.Module):
    """The CIFAR DenseNet-BC: a bare 3x3 stem, four dense blocks, compression 0.5 between them."""

    def __init__(
        self, num_classes: int = 10, growth: int = 12, blocks: tuple[int, ...] = (6, 12, 24, 16)
    ) -> None:
        super().__init__()
        channels = 2 * growth
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        for stage, depth in enumerate(blocks, 1):
            block = [Bottleneck(channels + growth * i, growth) for i in range(depth)]
            self.add_module(f"dense{stage}", nn.Sequential(*block))
            channels += growth * depth
            if stage < len(blocks):
                self.add_module(f"trans{stage}", Transition(channels, channels // 2))
                channels //= 2
        self.stages = len(blocks)
        self.bn = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"dense{stage}")(x)
            if stage < self.stages:
                x = getattr(self, f"trans{stage}")(x)
        # Global average: at the lab's 32x32 input this is its 4x4 average pool.
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))  # type: ignore[no-any-return]


def vgg11_cifar(num_classes: int = 10) -> nn.Module:
    """The lab's VGG-11 for 3x32x32 images: 9,231,114 parameters."""
    return VGG(num_classes)


def vgg11_cifar_xnor(num_classes: int = 10) -> nn.Module:
    """VGG-11 with sign activations in front of every convolution but the first (XNOR-Net)."""
    return VGG(num_classes, binary_activations=True)


def densenet_cifar(num_classes: int = 10) -> nn.Module:
    """The lab's DenseNet: 1,000,618 parameters, 969,288 of them conv and linear weights."""
    return DenseNet(num_classes)


#: Name of a built-in net -> factory taking the number of classes.
MODELS: dict[str, Callable[[int], nn.Module]] = {
    "vgg11-cifar": vgg11_cifar,
    "vgg11-cifar-xnor": vgg11_cifar_xnor,
    "densenet-cifar": densenet_cifar,
}


def create(arch: str, num_classes: int = 10) -> nn.Module:
    """A freshly initialised net.

    Parameters
    ----------
    arch
        A name of `MODELS`, a torchvision classifier ("resnet18"), or "file.py:factory". A factory is
        called with the number of classes as its `num_classes` or else its first argument, if it takes any.

    Raises
    ------
    InputError
        If there is no such net, or the factory returns something else.
    """
    if arch in MODELS:
        return MODELS[arch](num_classes)
    if ":" in arch:
        make = user_code.load(arch)
        wanted = list(inspect.signature(make).parameters.values())
        names = [p.name for p in wanted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        count = "num_classes" if "num_classes" in names else next(iter(names), None)
        return make(**{count: num_classes}) if count else make()
    if arch not in vision.names():
        raise InputError(
            f"unknown architecture '{arch}': {', '.join(MODELS)}, a torchvision classifier or FILE.py:FACTORY"
        )
    return vision.build(arch, num_classes=num_classes)
