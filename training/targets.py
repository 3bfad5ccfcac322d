"""What can be pruned: the weights of a net by kind and by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn

from ..errors import InputError

#: Kinds of layers that are pruned if nothing else is asked for.
KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
#: Kind of weight -> the modules that have it. Those after the default ones are pruned by choice: what they
#: hold is less redundant, or seldom computed on.
MODULES: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": KINDS[:3],
    "linear": KINDS[3:],
    "convtranspose": (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    "rnn": (nn.RNNBase, nn.RNNCellBase),
    "embedding": (nn.Embedding, nn.EmbeddingBag),
    "attention": (nn.MultiheadAttention,),
}
DEFAULT = ("conv", "linear")


def weights(
    model: nn.Module, layers: Iterable[str] = (), kinds: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    """Name -> every weight of the kinds asked for, as `chosen` chooses them.

    A layer with one weight is named as the layer; others' weights have their own names, `lstm.weight_ih_l0`.
    """
    found: dict[str, tuple[str, torch.Tensor]] = {}
    for layer, module in model.named_modules():
        for kind, types in MODULES.items():
            if not isinstance(module, types):
                continue
            alone = getattr(module, "weight", None)
            if isinstance(alone, torch.Tensor):
                found[layer] = (kind, alone)
                continue
            for name, tensor in module.named_parameters(recurse=False):
                if "weight" in name and tensor.dim() > 1:
                    found[f"{layer}.{name}" if layer else name] = (kind, tensor)
    return chosen(found, layers, kinds)


def chosen(
    found: Mapping[str, tuple[str, torch.Tensor]], layers: Iterable[str] = (), kinds: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    """Of name -> (kind, weight) those of the kinds asked for that a glob of `layers` matches.

    Without kinds: convolutions and linear layers; a glob that matches none of them is looked for in all.

    Raises
    ------
    InputError
        If there is no such kind, a glob matches nothing, or nothing is left.
    """
    asked = list(kinds)
    wanted = asked or DEFAULT
    if unknown := [kind for kind in wanted if kind not in MODULES]:
        raise InputError(f"kind '{unknown[0]}': one of {', '.join(MODULES)}")
    every = {name: tensor for name, (kind, tensor) in found.items() if not asked or kind in wanted}
    pool = {name: tensor for name, tensor in every.items() if found[name][0] in wanted}
    globs = list(layers)
    if not globs:
        if not pool:
            there = ", ".join(dict.fromkeys(kind for kind, _ in found.values()))
            what = (
                "no convolution and no linear layer" if not asked else f"no weight of kind {', '.join(asked)}"
            )
            raise InputError(f"the net has {what} to prune" + (f"; --kinds: it has {there}" if there else ""))
        return pool
    hits: set[str] = set()
    for glob in globs:
        hit = [name for name in pool if fnmatchcase(name, glob)]
        hit = hit or [name for name in every if fnmatchcase(name, glob)]
        if not hit:
            raise InputError(f"no layer matches '{glob}'; layers: {', '.join(list(every)[:6])}, …")
        hits.update(hit)
    return {name: tensor for name, tensor in every.items() if name in hits}


def has_default(model: nn.Module) -> bool:
    """Whether the net has a convolution or a linear layer."""
    return any(isinstance(module, KINDS) for module in model.modules())


def prunable(model: nn.Module, layers: Iterable[str] = ()) -> dict[str, nn.Module]:
    """Name -> every convolution and linear layer, or those that a glob of `layers` matches.

    Raises
    ------
    InputError
        If a glob matches no such layer, or the net has none.
    """
    modules = dict(model.named_modules())
    return {name: modules[name] for name in weights(model, layers, DEFAULT)}
