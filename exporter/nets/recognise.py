"""Which known net a state dict belongs to, from its keys and shapes alone.

Candidates are built with their parameters on the meta device: no memory, no initialisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from . import torchvision as vision
from .views import Shapes, View, likely_prefixes, prefixes_of, stripped, views

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
class Blueprint:
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
    def whole(self) -> bool:
        """Whether all of the net's own tensors are there."""
        return not self.missing and not self.shapes

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


def builtin(name: str) -> Blueprint:
    """One of the lab's nets."""
    from .cifar import MODELS

    return Blueprint(name, MODELS[name], {}, (1, 3, 32, 32))


def torchvision_net(name: str, have: Shapes) -> Blueprint:
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
    return Blueprint(
        name, lambda **given: vision.build(name, **given), options, vision.input_shape(name, image)
    )


def _vit_image(have: Shapes) -> int | None:
    """Side of the image a vision transformer was made for: its patches a side times their size."""
    positions, patch = have.get("encoder.pos_embedding", ()), have.get("conv_proj.weight", ())
    if len(positions) != 3 or len(patch) != 4:
        return None
    side = math.isqrt(positions[1] - 1)
    return side * patch[-1] if side * side == positions[1] - 1 else None


def fit(blueprint: Blueprint, have: Shapes, want: Shapes | None = None) -> tuple[Blueprint, Difference]:
    """`blueprint` with the number of classes (and input channels) that `have` shows, and what still differs.

    `want` are the shapes of the net as it is, if they are known already.
    """
    want = shapes_of(blueprint.empty().state_dict()) if want is None else want
    difference = compare(have, want)
    if not difference.shapes:
        return blueprint, difference
    options = dict(blueprint.options)
    rows = {have[n][0] for n in difference.shapes if have[n] and have[n][1:] == want[n][1:]}
    if len(rows) == 1 and "num_classes" in blueprint.accepts:
        options["num_classes"] = rows.pop()
    first = next((n for n in want if len(want[n]) == 4), None)
    if first in difference.shapes and "in_channels" in blueprint.accepts:
        options["in_channels"] = have[first][1]
    if options == blueprint.options:
        return blueprint, difference
    fitted = replace(blueprint, options=options)
    return fitted, compare(have, shapes_of(fitted.empty().state_dict()))


def candidates(have: Shapes) -> Iterator[Blueprint]:
    """Every known net that the keys do not rule out, the built-in ones first."""
    from ...errors import MissingDependencyError
    from .cifar import MODELS

    for name in MODELS:
        yield builtin(name)
    if not any(key in have for key in vision.FAMILIES):
        return
    try:
        for name in vision.family(set(have)):
            yield torchvision_net(name, have)
    except MissingDependencyError:
        return


@dataclass(frozen=True)
class Match:
    """A net whose tensors are all in the file.

    Attributes
    ----------
    want
        The shapes of the net's own tensors, by its names.
    extra
        Names of the file's other tensors.
    others
        Prefixes under which the file holds the net too.
    """

    blueprint: Blueprint
    view: View
    want: Shapes
    extra: list[str]
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Near:
    """The closest net, where none fits."""

    name: str
    difference: Difference
    have: Shapes


def match(blueprint: Blueprint, have: Shapes) -> Match | Near:
    """Where in the file the net `blueprint` is, or how it differs from what comes closest."""
    want = shapes_of(blueprint.empty().state_dict())
    probe = max(want, key=len, default="")
    found: list[Match] = []
    closest: Near | None = None
    for view in views(have, prefixes_of(have, probe)):
        shapes = view.shapes(have)
        fitted, difference = fit(blueprint, shapes, want)
        if difference.whole:
            found.append(_match(fitted, view, have, want if fitted is blueprint else None))
        elif closest is None or len(difference.missing) < len(closest.difference.missing):
            closest = Near(blueprint.name, difference, shapes)
    bare = stripped(have) if not found else None
    if bare is not None:
        fitted, difference = fit(blueprint, bare.shapes(have), want)
        if difference.whole:
            found.append(_match(fitted, bare, have, None))
    if not found:
        assert closest is not None, "a state dict has at least one name"
        return closest
    others = dict.fromkeys(
        other.view.prefix for other in found[1:] if other.view.prefix != found[0].view.prefix
    )
    return replace(found[0], others=list(others))


def _match(blueprint: Blueprint, view: View, have: Shapes, want: Shapes | None) -> Match:
    want = want or shapes_of(blueprint.empty().state_dict())
    taken = {name for inner, name in view.names.items() if inner in want}
    return Match(blueprint, view, want, [name for name in have if name not in taken])


def recognise(have: Shapes) -> Match | Near | None:
    """The known net that the file holds, or the closest candidate.

    Other tensors may lie beside it, but none within its own modules: those would make it another net.
    """
    closest: Near | None = None
    best: Match | None = None
    for view in views(have, likely_prefixes(have)):
        shapes = view.shapes(have)
        for blueprint in candidates(shapes):
            try:
                fitted, difference = fit(blueprint, shapes)
            except (AssertionError, RuntimeError, ValueError):  # no such net for options read off the shapes
                continue
            own = _heads(set(shapes) - set(difference.unexpected))
            if difference.whole and not own & _heads(difference.unexpected):
                found = _match(fitted, view, have, None)
                if best is None or len(found.extra) < len(best.extra):
                    best = found
            elif closest is None or difference.size < closest.difference.size:
                closest = Near(blueprint.name, difference, shapes)
            if best is not None and not best.extra:
                return best
    return best or closest


def _heads(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}
