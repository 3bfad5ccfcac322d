"""The net that a checkpoint's tensors are of: found by name, or keys and shapes, and filled with them."""

from __future__ import annotations

import difflib
import inspect
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from ...errors import InputError, MissingDependencyError
from ...notes import Note
from ...text import counted, listed, shown
from ..checkpoint import Checkpoint
from ..files.tensors import identity
from ..nets import recognise, user_code
from ..nets import torchvision as vision
from ..nets.recognise import Match, Near

if TYPE_CHECKING:
    from ..nets.recognise import Blueprint

_WAYS = "name it with --arch NAME, give --arch FILE.py:FACTORY, or give an .onnx or .pt2 file"


def find(checkpoint: Checkpoint, arch: str | None, strict: bool) -> tuple[Match, list[Note]]:
    """The net in the checkpoint, and what is to be said of the way it was found.

    Raises
    ------
    InputError
        If not all of its tensors are there, none is known, or `strict` is on and others lie beside them.
    """
    # Masks that were applied are no weights, but a net that has them as buffers of its own gets them.
    have = {**recognise.shapes_of(checkpoint.tensors), **recognise.shapes_of(checkpoint.parts)}
    notes: list[Note] = []
    found = None if arch is None else recognise.match(_named(arch, have), have)
    if isinstance(found, Near):
        raise InputError(f"{shown(checkpoint.path)} does not fit '{shown(str(arch))}': {_told(found)}")
    hint = checkpoint.arch_hint
    if found is None and hint is not None and _is_known(hint):
        found = recognise.match(_named(hint, have), have)
        notes = [Note("info", f"architecture named in the file: {hint}")]
    if not isinstance(found, Match):
        found = recognise.recognise(recognise.shapes_of(checkpoint.tensors))
        if not isinstance(found, Match):
            near = ""
            if found is not None and found.difference.size < len(have) / 2:
                near = f" (closest: {found.name}, {_told(found)})"
            raise InputError(
                f"{shown(checkpoint.path)}: no known architecture has these weights{near}; {_WAYS}"
            )
        options = found.blueprint.options
        classes = f" with {options['num_classes']} classes" if "num_classes" in options else ""
        notes = [Note("info", f"architecture recognised: {found.blueprint.name}{classes}")]
    extra = [name for name in found.extra if name not in checkpoint.parts]
    if strict and extra:
        raise InputError(
            f"{shown(checkpoint.path)}: {counted(len(extra), 'tensor')} not of "
            f"'{shown(found.blueprint.name)}' (--strict): {listed(extra)}"
        )
    return found, notes + _view_notes(found, extra)


def _view_notes(found: Match, extra: list[str]) -> list[Note]:
    """Under which prefix the net was, and what else is in the file."""
    notes, prefix = [], found.view.prefix
    if prefix and not extra:
        text = f"prefix '{shown(prefix)}' left out of every name to fit the architecture"
        notes.append(Note("info", text))
    elif prefix:
        notes.append(Note("info", f"the net is under the prefix '{shown(prefix)}'"))
    if found.others:
        others = listed([f"'{other}'" if other else "no prefix" for other in found.others])
        text = f"the file holds the same net under {others} too: --prefix {shown(found.others[0])} takes that"
        notes.append(Note("warn", text))
        extra = [name for name in extra if not any(o and name.startswith(o) for o in found.others)]
    if extra:
        text = f"{counted(len(extra), 'tensor')} not of the net left out (--strict refuses)"
        notes.append(Note("warn", f"{text}: {listed(extra, 6)}"))
    return notes


def _is_known(name: str) -> bool:
    from ..nets.cifar import MODELS

    try:
        return name in MODELS or name in vision.names()
    except MissingDependencyError:
        return False


def _told(near: Near) -> str:
    """The first names of each kind of difference."""
    parts, difference = [], near.difference
    if difference.missing:
        parts.append(f"missing {listed(difference.missing)}")
    if difference.unexpected:
        parts.append(f"unexpected {listed(difference.unexpected)}")
    if difference.shapes:
        name = difference.shapes[0]
        more = f" and {len(difference.shapes) - 1} more" if len(difference.shapes) > 1 else ""
        parts.append(
            f"another shape in {shown(name)} ({'x'.join(map(str, near.have[name]))} in the file){more}"
        )
    return "; ".join(parts)


def _named(arch: str, have: Mapping[str, tuple[int, ...]]) -> Blueprint:
    """The blueprint that `--arch` asks for."""
    from ..nets.cifar import MODELS

    if arch in MODELS:
        return recognise.builtin(arch)
    if ":" in arch:
        make = user_code.load(arch)
        accepts = frozenset(inspect.signature(make).parameters)
        return recognise.Blueprint(arch, make, accepts=accepts, known=False)
    known = vision.names()
    if arch in known:
        return recognise.torchvision_net(arch, have)
    near = difflib.get_close_matches(arch, [*MODELS, *known], n=3)
    hint = (
        f"did you mean {', '.join(near)}?"
        if near
        else f"one of {', '.join(MODELS)}, a torchvision classifier"
    )
    raise InputError(f"unknown architecture '{shown(arch)}': {hint} or FILE.py:FACTORY")


def filled(found: Match, checkpoint: Checkpoint, notes: list[Note]) -> torch.nn.Module:
    """The net with the checkpoint's tensors as its parameters: assigned, so shared and not copied."""
    blueprint = found.blueprint
    module = blueprint.empty()
    want = module.state_dict()
    have = {**checkpoint.parts, **checkpoint.tensors}
    tensors = {inner: have[found.view.names[inner]] for inner in want if inner in found.view.names}
    for inner, name in found.view.names.items():
        # A net with the mask's buffer applies it itself, and knows better than a guess by place whose it is.
        if name in checkpoint.latent and inner in want and _has_own_mask(found, checkpoint, name):
            tensors[inner] = checkpoint.latent[name].value
    absent = [name for name in want if name not in tensors]  # only BatchNorm's counters get this far
    state = OrderedDict(tensors | {name: torch.zeros((), dtype=torch.int64) for name in absent})
    # Modules that changed their layout look at the version a state dict was saved with; ours has been fitted.
    state._metadata = want._metadata  # type: ignore[attr-defined]
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except Exception as error:  # a module's own loading hooks may raise anything
        raise InputError(
            f"{shown(checkpoint.path)} does not load into '{shown(blueprint.name)}': "
            f"{user_code.reason(error)}"
        ) from error
    if absent:
        notes.append(
            Note(
                "info", f"{counted(len(absent), 'missing BatchNorm counter')} (num_batches_tracked) set to 0"
            )
        )
    if blueprint.known and blueprint.name in ("googlenet", "inception_v3"):
        text = f"{blueprint.name} is built without transform_input, which torchvision's own weights switch on"
        notes.append(Note("warn", f"{text}: if yours did, give --arch FILE.py:FACTORY"))
    _tie(module)
    return module


def _has_own_mask(found: Match, checkpoint: Checkpoint, weight: str) -> bool:
    """Whether the net itself has the mask that was applied to that weight of the file."""
    mask = checkpoint.latent[weight].mask
    return any(name == mask and inner in found.want for inner, name in found.view.names.items())


def _tie(module: torch.nn.Module) -> None:
    """Make parameters that share storage one object again, so that the graph holds them once."""
    first: dict[tuple[object, ...], torch.nn.Parameter] = {}
    for owner in module.modules():
        for name, parameter in list(owner._parameters.items()):
            if parameter is not None and parameter.numel():
                owner._parameters[name] = first.setdefault(identity(parameter), parameter)
