"""Binarization: weights of plus or minus one number per output channel, trained through the sign.

Sources: Courbariaux et al. 2015 (BinaryConnect: float masters, sign in forward and backward, masters
clipped to [-1, 1]) and Rastegari et al. 2016 (XNOR-Net: W = alpha sign(W), alpha = mean |W| per filter).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from ..errors import InputError
from ..exporter.nets import cifar
from . import prune
from .train import Constraint

NOTHING_LEFT = "no layer is left to binarize: first and last stay float; name some with --layers GLOB"

#: Method -> (what it does, whether it trains, whether weights are scaled, whether activations are signs).
METHODS: dict[str, tuple[str, bool, bool, bool]] = {
    "sign": ("alpha sign(W), no training", False, True, False),
    "binaryconnect": ("sign(W), trained through the sign", True, False, False),
    "ste": ("alpha sign(W), trained through the sign", True, True, False),
    "xnor": ("alpha sign(W) and sign activations, trained through both", True, True, True),
}


def layers_of(model: nn.Module, globs: Iterable[str] = ()) -> list[str]:
    """Names of the layers to binarize: those the globs name, else all but the first and the last.

    Raises
    ------
    InputError
        If a glob matches nothing, or nothing is left.
    """
    globs = list(globs)
    names = list(prune.prunable(model, globs))
    if not globs:
        names = names[1:-1]
    if not names:
        raise InputError(NOTHING_LEFT)
    return names


def binary(weight: torch.Tensor, scaled: bool) -> torch.Tensor:
    """The weight as exactly +-alpha per output channel; alpha = mean |W| of it, or 1. sign(0) = +1."""
    signs = torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)
    if not scaled:
        return signs
    alpha = weight.abs().flatten(1).mean(1)
    # A filter of zeros has no scale of its own; the smallest normal number keeps its signs.
    alpha = alpha.clamp(min=torch.finfo(weight.dtype).tiny)
    return signs * alpha.reshape(-1, *[1] * (weight.dim() - 1))


class Binary(Constraint):
    """Computes with binary weights, steps on float masters clipped to [-1, 1].

    The gradient at the binary weights is applied to the masters unchanged: the straight-through
    estimator.
    """

    def __init__(self, model: nn.Module, names: Iterable[str], scaled: bool) -> None:
        modules = dict(model.named_modules())
        self.weights = [modules[name].weight for name in names]
        self.scaled = scaled
        self.masters: list[torch.Tensor] = []

    @torch.no_grad()
    def enter(self, done: float) -> None:
        if self.masters:
            return
        for weight in self.weights:
            assert isinstance(weight, nn.Parameter)
            self.masters.append(weight.detach().clone())
            weight.copy_(binary(weight, self.scaled))

    @torch.no_grad()
    def leave(self) -> None:
        for weight, master in zip(self.weights, self.masters, strict=True):
            assert isinstance(weight, nn.Parameter)
            weight.copy_(master)
        self.masters.clear()

    @torch.no_grad()
    def after_step(self) -> None:
        for weight in self.weights:
            assert isinstance(weight, nn.Parameter)
            weight.clamp_(-1, 1)


def with_sign_activations(
    model: nn.Module, arch: str, state: Mapping[str, torch.Tensor]
) -> tuple[nn.Module, str]:
    """The net whose binary layers read signs, and its name: the model itself if it has `Sign` modules.

    The lab's VGG-11 becomes `vgg11-cifar-xnor`, its convolutions and its classifier carried over.

    Raises
    ------
    InputError
        If there is no such form of the net.
    """
    if any(isinstance(module, cifar.Sign) for module in model.modules()):
        return model, arch
    if arch != "vgg11-cifar":
        raise InputError(
            f"'{arch}' has no sign activations: use vgg11-cifar, or a factory that puts "
            "sparse_export.exporter.nets.cifar.Sign in front of its binary layers"
        )
    name = "vgg11-cifar-xnor"
    other = cifar.create(name, int(state["classifier.bias"].shape[0]))
    sources = list(prune.prunable(model).values())
    for target, source in zip(prune.prunable(other).values(), sources, strict=True):
        target.load_state_dict(source.state_dict())
    return other, name
