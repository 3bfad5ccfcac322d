"""Which tensors of a checkpoint are pruning masks, and of which weights: told by names and shapes alone.

The one rule of the whole exporter. Whether a candidate's values are 0 and 1 is for who holds the tensors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]
Tokens = tuple[str, ...]

#: What tools put into a mask's name beside the weight's: ASP's `__weight_mma_mask`, NNCF's `_binary_mask`.
_FILLERS = frozenset(
    {"", "mask", "masks", "mma", "binary", "sparse", "sparsity", "prune", "pruning", "pruned", "pruner"}
)
#: How many modules up a mask may lie from its weight: NNCF's `conv.pre_ops.0.op._binary_mask` is three.
_UP = 3


@dataclass(frozen=True)
class Pair:
    """A weight and its mask.

    Attributes
    ----------
    name
        What the masked weight is called.
    named
        Whether the mask's name says whose it is; otherwise it is the only one of that shape around.
    """

    name: str
    weight: str
    mask: str
    named: bool = True


def looks_like_mask(name: str) -> bool:
    """Whether a part of the name speaks of a mask."""
    return "mask" in name.lower()


def hooked(names: Iterable[str]) -> list[Pair]:
    """The pairs `X_orig`, `X_mask` that torch.nn.utils.prune leaves, in the order of `X_orig`."""
    names = dict.fromkeys(names)
    pairs = []
    for name in names:
        base = name.removesuffix("_orig")
        if base != name and f"{base}_mask" in names and base not in names:
            pairs.append(Pair(base, name, f"{base}_mask"))
    return pairs


def beside(shapes: Shapes) -> list[Pair]:
    """Masks that lie among the weights: named after one (`X_mask`), or alone of its shape nearby."""
    weights = {n: s for n, s in shapes.items() if s and not looks_like_mask(n)}
    by_name, by_module = _by_tokens(weights), defaultdict(list)
    for name in weights:
        by_module[name.rpartition(".")[0]].append(name)
    taken = {pair.mask for pair in hooked(shapes)}
    pairs = []
    for mask, shape in shapes.items():
        if not looks_like_mask(mask) or mask in taken or not shape:
            continue
        found = [n for n in by_name.get(_tokens(mask), ()) if weights[n] == shape]
        if len(found) == 1:
            module, _, leaf = found[0].rpartition(".")
            named = leaf in mask or mask.rpartition(".")[0] != module
            pairs.append(Pair(found[0], found[0], mask, named))
        elif looks_like_mask(mask.rpartition(".")[2]) and (near := _near(mask, shape, weights, by_module)):
            pairs.append(near)
    return _one_each(pairs)


def _near(
    mask: str, shape: tuple[int, ...], weights: Shapes, by_module: Mapping[str, list[str]]
) -> Pair | None:
    """The weight of the same shape in the mask's module or one that holds it, if there is just one."""
    module, _, leaf = mask.rpartition(".")
    for _ in range(_UP + 1):
        same = [n for n in by_module.get(module, ()) if weights[n] == shape]
        named = [n for n in same if n.rpartition(".")[2] in leaf]
        if len(named) == 1:
            return Pair(named[0], named[0], mask)
        if len(same) == 1 and len(shape) > 1:
            return Pair(same[0], same[0], mask, named=False)
        if same or not module:
            return None
        module = module.rpartition(".")[0]
        if not module:  # a buffer of the whole net is no mask of a weight beside it
            return None
    return None


def apart(shapes: Shapes, masks: Shapes) -> list[Pair] | None:
    """Masks of a dict of their own, keyed by weight or by module; None unless every one has its weight."""
    weights = {n: s for n, s in shapes.items() if s and not looks_like_mask(n)}
    by_name = _by_tokens(weights)
    pairs = []
    for mask, shape in masks.items():
        tokens = _tokens(mask)
        found = [n for n in by_name.get(tokens, ()) if weights[n] == shape]
        if not found and tokens:
            found = [
                name
                for key, names in by_name.items()
                if key[-len(tokens) :] == tokens or tokens[-len(key) :] == key
                for name in names
                if weights[name] == shape
            ]
        if len(set(found)) != 1:
            return None
        pairs.append(Pair(found[0], found[0], mask))
    return _one_each(pairs) or None


def in_order(shapes: Shapes, masks: list[tuple[int, ...]]) -> list[str] | None:
    """Names of the weights that a plain list of masks belongs to; None if the shapes do not say so.

    Those are all with two dimensions or more, or all there are, in order.
    """
    for least in (2, 1):
        names = [n for n, s in shapes.items() if len(s) >= least and not looks_like_mask(n)]
        if [shapes[n] for n in names] == masks:
            return names
    return None


def _one_each(pairs: list[Pair]) -> list[Pair]:
    """`pairs` without weights that two masks claim."""
    claims: dict[str, int] = defaultdict(int)
    for pair in pairs:
        claims[pair.weight] += 1
    return [pair for pair in pairs if claims[pair.weight] == 1]


def _tokens(name: str) -> Tokens:
    return tuple(part for part in re.split(r"[._\-/]+", name.lower()) if part not in _FILLERS)


def _by_tokens(weights: Shapes) -> dict[Tokens, list[str]]:
    """Weights by the words of their name, and by those of their module."""
    found: dict[Tokens, list[str]] = defaultdict(list)
    for name in weights:
        tokens = _tokens(name)
        found[tokens].append(name)
        if tokens[-1:] == ("weight",) and len(tokens) > 1:
            found[tokens[:-1]].append(name)
    return found
