"""Reparametrised weights (pruning masks, weight and spectral norm) as the plain tensors they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import CorruptFileError, UnsupportedError
from ...notes import Note
from ...text import counted, listed, shown
from ..archive import pairs
from ..files.tensors import identity
from .diagnosis import chunks, distinct

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

#: What the hooks of pruning, spectral norm and weight norm append to a parameter's name.
_HOOKED = ("_orig", "_mask", "_u", "_v", "_g")
_PARAMETRIZED = re.compile(r"^(?P<module>(?:.*\.)?)parametrizations\.(?P<name>[^.]+)\.(?P<part>.+)$")


def fold(tensors: Tensors) -> tuple[Tensors, Tensors, list[Note]]:
    """`tensors` with every reparametrised weight replaced by its value, at the place of its first part.

    Also the parts of pruned weights by their old names, masked already, for a net that still has them.

    Raises
    ------
    CorruptFileError
        If the parts do not fit together.
    UnsupportedError
        If a parametrization cannot be told from the state dict.
    """
    folder = _Folder(tensors)
    for name in tensors:
        folder.visit(name)
    return folder.folded, folder.parts, folder.notes()


def mask_in_place(tensors: Tensors) -> list[Note]:
    """Multiply each `weight_orig` by its `weight_mask`, for graphs that do so themselves on every run."""
    folder = _Folder(tensors)
    for pair in pairs.hooked(tensors):
        weight, mask = tensors[pair.weight], tensors[pair.mask]
        weight.copy_(folder._masked(pair.name, weight, mask))
    return folder.notes()


def drop_negative_zeros(tensors: Tensors) -> list[Note]:
    """Turn -0.0 into 0 in the weights (two dimensions and more), in place, so ties and modules see it."""
    import torch

    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    count, where = 0, []
    for name, tensor in distinct(tensors).items():
        if tensor.ndim < 2 or not tensor.is_floating_point():
            continue
        found = 0
        for chunk in chunks(tensor):
            # -0.0 is the sign bit alone: the smallest integer of that width.
            bits = chunk.view(integers[chunk.element_size()])
            here = int(torch.count_nonzero(bits == torch.iinfo(bits.dtype).min))
            if here:
                # Adding +0.0 changes no other value; the pages of a mapped file are copied on write.
                chunk.add_(0.0)
                found += here
        if found:
            count += found
            where.append(name)
    if not where:
        return []
    return [
        Note(
            "info", f"{counted(count, 'negative zero')} written as 0 (no output changes), in {listed(where)}"
        )
    ]


class _Folder:
    """One pass over the names, which may meet the parts of a weight in any order."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.folded: Tensors = {}
        self.done: set[str] = set()
        self.masked: list[str] = []
        self.fractional: list[str] = []
        self.normed: list[str] = []
        # Tied reparametrised weights stay tied: same parts, same folded tensor.
        self.products: dict[tuple[object, ...], torch.Tensor] = {}
        self.parts: Tensors = {}

    def visit(self, name: str) -> None:
        if name in self.done:
            return
        parametrized = _PARAMETRIZED.match(name)
        if parametrized:
            self._parametrization(parametrized["module"], parametrized["name"])
            return
        for suffix in _HOOKED:
            base = name.removesuffix(suffix)
            if base != name and self._hooked(base):
                return
        self.folded[name] = self.tensors[name]

    def _hooked(self, base: str) -> bool:
        """The older reparametrisations, which leave `weight_orig` and friends beside each other.

        Names like `pos_g` and `pos_v` may also be plain parameters: False if the parts are not such a set.
        """
        part = {s: self.tensors[base + s] for s in _HOOKED if base + s in self.tensors}
        original, mask, u, v, g = (part.get(suffix) for suffix in _HOOKED)
        if original is not None and mask is not None:
            value = self._once([original, mask], lambda: self._masked(base, original, mask))
            used = {"_orig", "_mask"}
            self.parts |= {f"{base}_orig": value, f"{base}_mask": mask}
        elif original is not None and u is not None and u.ndim == 1:
            parts = [original, u] if v is None else [original, u, v]
            value = self._normed(base, lambda: _spectral(original, u, v), parts)
            used = {"_orig", "_u", "_v"} & set(part)
        elif g is not None and v is not None and _is_weight_norm(g, v):
            value = self._normed(base, lambda: _weight_norm(g, v), [g, v])
            used = {"_g", "_v"}
        else:
            return False
        self.folded[base] = value
        self.done |= {base + suffix for suffix in used}
        return True

    def _parametrization(self, module: str, weight: str) -> None:
        """torch.nn.utils.parametrize: which one it was is told only by the tensors it left."""
        start = f"{module}parametrizations.{weight}."
        part = {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}
        base, names = module + weight, set(part)
        if names == {"original", "0.mask"}:
            value = self._once(
                list(part.values()), lambda: self._masked(base, part["original"], part["0.mask"])
            )
        elif names == {"original0", "original1"} and _is_weight_norm(part["original0"], part["original1"]):
            value = self._normed(
                base, lambda: _weight_norm(part["original0"], part["original1"]), list(part.values())
            )
        elif names == {"original", "0._u", "0._v"}:
            value = self._normed(
                base, lambda: _spectral(part["original"], part["0._u"], part["0._v"]), list(part.values())
            )
        else:
            raise UnsupportedError(
                f"'{shown(base)}' is parametrized in a way its state dict does not tell (it holds"
                f" {listed(sorted(names))}); call torch.nn.utils.parametrize.remove_parametrizations(module,"
                f" '{shown(weight)}') before saving, or save the whole module and use --trust-checkpoint"
            )
        self.folded[base] = value
        self.done |= {start + name for name in part}

    def _once(self, parts: list[torch.Tensor], compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        key = tuple(identity(part) for part in parts)
        if key not in self.products:
            self.products[key] = compute()
        return self.products[key]

    def _normed(
        self, base: str, compute: Callable[[], torch.Tensor], parts: list[torch.Tensor]
    ) -> torch.Tensor:
        self.normed.append(base)
        try:
            return self._once(parts, compute)
        except (RuntimeError, IndexError) as error:
            shapes = ", ".join("x".join(map(str, part.shape)) for part in parts)
            raise CorruptFileError(
                f"'{shown(base)}': the shapes of its parts do not fit: {shapes}"
            ) from error

    def _masked(self, base: str, original: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`original` x `mask`, with +0.0 (not -0.0 or inf x 0 = NaN) where the mask is 0."""
        import torch

        if original.shape != mask.shape:
            raise CorruptFileError(
                f"'{shown(base)}_mask' has shape {list(mask.shape)}, its weight {list(original.shape)}"
            )
        self.masked.append(base)
        kept = mask != 0
        if not bool(((mask == 1) | ~kept).all()):
            self.fractional.append(base)
            original = original * mask.to(original.dtype)
        return torch.where(kept, original, torch.zeros((), dtype=original.dtype))

    def notes(self) -> list[Note]:
        told = (
            ("info", "pruning masks folded into", self.masked),
            ("warn", "masks with values other than 0 and 1 multiplied into", self.fractional),
            ("info", "weight or spectral norm computed for", self.normed),
        )
        return [
            Note(level, f"{what} {counted(len(names), 'tensor')}: {listed(names)}")
            for level, what, names in told
            if names
        ]


def _is_weight_norm(magnitude: torch.Tensor, direction: torch.Tensor) -> bool:
    """Whether g has v's shape with 1 in every dimension but at most one, or is a scalar."""
    if magnitude.ndim == 0:
        return direction.ndim > 0
    kept = [(n, direction.shape[i]) for i, n in enumerate(magnitude.shape[: direction.ndim]) if n > 1]
    return magnitude.ndim == direction.ndim > 1 and len(kept) <= 1 and all(n == m for n, m in kept)


def _weight_norm(magnitude: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """g * v / |v| over every dimension but the one g keeps (Salimans & Kingma 2016)."""
    import torch

    kept = next((i for i, n in enumerate(magnitude.shape) if n > 1), 0 if magnitude.ndim else None)
    others = [i for i in range(direction.ndim) if i != kept]
    weight: torch.Tensor = (
        magnitude * direction / torch.linalg.vector_norm(direction, dim=others, keepdim=True)
    )
    return weight


def _spectral(original: torch.Tensor, u: torch.Tensor, v: torch.Tensor | None) -> torch.Tensor:
    """W / (u^T W v), as in evaluation mode (Miyato et al. 2018); u and v are the stored power iteration."""
    import torch

    # ConvTranspose normalises over dimension 1; the lengths of u and v tell which it was.
    matrix = original.flatten(1)
    if v is not None and (matrix.shape != (u.numel(), v.numel())) and original.ndim > 1:
        matrix = original.transpose(0, 1).flatten(1)
    if v is None:
        v = torch.nn.functional.normalize(torch.mv(matrix.t(), u), dim=0)
    weight: torch.Tensor = original / torch.dot(u, torch.mv(matrix, v))
    return weight
