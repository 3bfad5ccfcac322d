"""Pruning masks of any name applied to their weights: those among the tensors, those in a dict of their own.

The rule that pairs them is `archive/pairs`; here their values are looked at. A mask that does not fit stays
what it was, and the net still loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...notes import Note
from ...text import counted, listed, shown
from ..archive import pairs
from ..archive.pairs import Pair
from ..files.tensors import identity

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

#: How deep masks may lie in an entry of the file: {'pruner': {'masks': {...}}} is two.
_DEPTH = 2


@dataclass(frozen=True)
class Latent:
    """A weight as it was, and the name of the mask that was applied to it."""

    mask: str
    value: torch.Tensor


@dataclass
class Applied:
    """What became of the masks.

    Attributes
    ----------
    tensors
        The weights, masked; the masks that were applied are gone.
    masks
        The masks that were applied, for a net that has them as buffers of its own.
    latent
        The weights as they were, where only the mask's place said whose it is: a net that has that buffer
        itself knows better.
    entries
        Entries of the file that held masks.
    """

    tensors: Tensors
    masks: Tensors = field(default_factory=dict)
    latent: dict[str, Latent] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def among(tensors: Tensors) -> Applied:
    """Apply the masks that lie among the tensors."""
    result = Applied(dict(tensors))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    found = [pair for pair in pairs.beside(shapes) if _fits(tensors[pair.weight], tensors[pair.mask])]
    for pair in found:
        result.masks[pair.mask] = result.tensors.pop(pair.mask)
        if not pair.named:
            result.latent[pair.weight] = Latent(pair.mask, tensors[pair.weight])
    _apply(result, [(pair, result.masks[pair.mask]) for pair in found])
    if found:
        names = [pair.mask for pair in found]
        result.notes.append(_note([pair.weight for pair in found], f"the masks {listed(names)}"))
    return result


def from_entries(tensors: Tensors, entries: Mapping[str, Any]) -> Applied:
    """Apply the masks that other entries of the file hold: dicts by name, or lists in the weights' order."""
    result = Applied(dict(tensors))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for label, value in entries.items():
        for where, masks in _groups(value, label, _DEPTH):
            chosen = _chosen(shapes, masks)
            if not chosen or not all(_fits(tensors[name], mask) for name, mask in chosen.items()):
                continue
            _apply(result, [(Pair(name, name, where), mask) for name, mask in chosen.items()])
            result.notes.append(_note(list(chosen), f"the masks of '{shown(where)}'"))
            result.entries.append(label)
    return result


def _note(names: list[str], masks: str) -> Note:
    return Note(
        "info", f"pruning masks applied to {counted(len(names), 'tensor')} ({masks}): {listed(names)}"
    )


def _groups(value: Any, where: str, depth: int) -> list[tuple[str, Tensors | list[torch.Tensor]]]:
    """The dicts and lists of nothing but tensors inside an entry."""
    import torch

    if isinstance(value, Mapping):
        value = {key: item for key, item in value.items() if item is not None}  # layers left as they are
    if isinstance(value, Mapping) and value:
        if all(isinstance(item, torch.Tensor) for item in value.values()):
            return [(where, {str(key): item for key, item in value.items()})]
        inner = ((f"{where}.{key}", item) for key, item in value.items())
        return [found for name, item in inner if depth for found in _groups(item, name, depth - 1)]
    if isinstance(value, (list, tuple)):
        value = [item for item in value if item is not None]
    if isinstance(value, list) and value and all(isinstance(item, torch.Tensor) for item in value):
        return [(where, list(value))]
    return []


def _chosen(shapes: pairs.Shapes, masks: Tensors | list[torch.Tensor]) -> Tensors:
    """Weight to mask, where every mask has its weight."""
    if isinstance(masks, list):
        names = pairs.in_order(shapes, [tuple(mask.shape) for mask in masks])
        return dict(zip(names, masks, strict=True)) if names else {}
    from .names import unwrapped

    masks = unwrapped(masks)[0]
    matched = pairs.apart(shapes, {name: tuple(mask.shape) for name, mask in masks.items()})
    return {pair.weight: masks[pair.mask] for pair in matched or ()}


def _fits(weight: torch.Tensor, mask: torch.Tensor) -> bool:
    """Whether the mask holds 0 and 1 only, and leaves something of a weight that is not 0 throughout.

    One that is 1 where the weight is 0 and 0 where it is not marks what was pruned, not what is kept.
    """
    import torch

    if weight.shape != mask.shape or not weight.is_floating_point() or mask.layout is not torch.strided:
        return False
    if mask.is_meta or mask.is_quantized or mask.is_complex():
        return False
    kept = mask == 1
    if not bool((kept | (mask == 0)).all()):
        return False
    return bool(((weight != 0) & kept).any()) or not bool((weight != 0).any())


def _apply(result: Applied, found: list[tuple[Pair, torch.Tensor]]) -> None:
    """The products in place of the weights; tied weights under one mask stay tied."""
    import torch

    products: dict[tuple[object, ...], torch.Tensor] = {}
    for pair, mask in found:
        weight = result.tensors[pair.weight]
        key = (identity(weight), identity(mask))
        if key not in products:
            # +0.0, not -0.0 or inf x 0 = NaN, where the mask is 0.
            products[key] = torch.where(mask != 0, weight, torch.zeros((), dtype=weight.dtype))
        result.tensors[pair.name] = products[key]
