"""Which known net a state dict belongs to, from its keys and shapes alone.

Candidates are built with their parameters on the meta device: no memory, no initialisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from . import torchvision as vision

if TYPE_CHECKING:
    Shapes = Mapping[str, tuple[int, ...]]

#: What a checkpoint may lack: written by BatchNorm only since torch 0.4.1, and used in training alone.
OPTIONAL = "num_batches_tracked"

#: Functions whose result a constructor keeps as a parameter; everything else computes and stays real.
_FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)


class _OnMeta(TorchFunctionMode):
    """Parameters on the meta device, while small tensors that a constructor computes with stay real.

    `torch.device("meta")` would do for most nets, but some (RegNet, stochastic depth) read values back.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in _FACTORIES:
            options["device"] = "meta"
        return func(*args, **options)


@dataclass(frozen=True)
class Recipe:
    """How to build a net: its name, the factory, what it is called with and what else it takes.

    Only a net we `know` is built on the meta device: other code may compute with its parameters.
    """

    name: str
    factory: Callable[..., torch.nn.Module]
    options: Mapping[str, Any] = field(default_factory=dict)
    input_shape: tuple[int, ...] | None = None
    accepts: frozenset[str] = frozenset({"num_classes"})
    known: bool = True

    def empty(self) -> torch.nn.Module:
        """The net to be filled with weights: its own are on the meta device where that works."""
        if not self.known:
            return self.factory(**self.options)
        try:
            with _OnMeta():
                module = self.factory(**self.options)
            left = {name for name, buffer in module.named_buffers() if buffer.is_meta} - set(
                module.state_dict()
            )
            if not left:
                return module
        except (NotImplementedError, RuntimeError):
            pass
        return self.factory(**self.options)


@dataclass(frozen=True)
class Difference:
    """Where a state dict and a net disagree."""

    missing: list[str]
    unexpected: list[str]
    shapes: list[str]

    @property
    def size(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.shapes)


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def compare(have: Shapes, want: Shapes) -> Difference:
    """What a state dict (`have`) lacks, adds or shapes differently from a net (`want`)."""
    return Difference(
        [n for n in want if n not in have and not n.endswith(OPTIONAL)],
        [n for n in have if n not in want],
        [n for n, shape in want.items() if n in have and have[n] != shape],
    )


def builtin(name: str) -> Recipe:
    """One of the lab's nets."""
    from .cifar import MODELS

    return Recipe(name, MODELS[name], {}, (1, 3, 32, 32))


def torchvision_net(name: str, have: Shapes) -> Recipe:
    """One of torchvision's classifiers, with the options its state dict shows."""
    options: dict[str, Any] = {}
    image = None
    if name == "googlenet":
        options["aux_logits"] = any(key.startswith("aux1.") for key in have)
    elif name == "inception_v3":
        options["aux_logits"] = any(key.startswith("AuxLogits.") for key in have)
    elif name.startswith("vit_"):
        image = _vit_image(have)
        if image:
            options["image_size"] = image
    return Recipe(name, lambda **given: vision.build(name, **given), options, vision.input_shape(name, image))


def _vit_image(have: Shapes) -> int | None:
    """Side of the image a vision transformer was made for: its patches a side times their size."""
    positions, patch = have.get("encoder.pos_embedding", ()), have.get("conv_proj.weight", ())
    if len(positions) != 3 or len(patch) != 4:
        return None
    side = math.isqrt(positions[1] - 1)
    return side * patch[-1] if side * side == positions[1] - 1 else None


def fit(recipe: Recipe, have: Shapes) -> tuple[Recipe, Difference]:
    """`recipe` with the number of classes (and input channels) that `have` shows, and what still differs."""
    want = shapes_of(recipe.empty().state_dict())
    difference = compare(have, want)
    if not difference.shapes:
        return recipe, difference
    options = dict(recipe.options)
    rows = {have[n][0] for n in difference.shapes if have[n] and have[n][1:] == want[n][1:]}
    if len(rows) == 1 and "num_classes" in recipe.accepts:
        options["num_classes"] = rows.pop()
    first = next((n for n in want if len(want[n]) == 4), None)
    if first in difference.shapes and "in_channels" in recipe.accepts:
        options["in_channels"] = have[first][1]
    if options == recipe.options:
        return recipe, difference
    fitted = replace(recipe, options=options)
    return fitted, compare(have, shapes_of(fitted.empty().state_dict()))


def candidates(have: Shapes) -> Iterator[Recipe]:
    """Every known net that the keys do not rule out, the built-in ones first."""
    from ...errors import MissingDependencyError
    from .cifar import MODELS

    for name in MODELS:
        yield builtin(name)
    try:
        for name in vision.family(set(have)):
            yield torchvision_net(name, have)
    except MissingDependencyError:
        return


def recognise(have: Shapes) -> tuple[Recipe | None, tuple[str, Difference] | None]:
    """The known net that `have` fits exactly, or None and the closest candidate with what differs."""
    closest: tuple[str, Difference] | None = None
    for recipe in candidates(have):
        fitted, difference = fit(recipe, have)
        if difference.size == 0:
            return fitted, None
        if closest is None or difference.size < closest[1].size:
            closest = (recipe.name, difference)
    return None, closest
