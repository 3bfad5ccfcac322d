"""The state dict inside whatever `torch.save` was given, and which of several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import InputError, UnsupportedError
from ...notes import Note
from ...text import listed, shown
from . import names

if TYPE_CHECKING:
    import torch

Place = tuple[Any, ...]

#: Names under which training scripts nest the weights, the most telling first.
_HOLDERS = (
    *(
        "state_dict",
        "model_state_dict",
        "net_state_dict",
        "model_state",
        "state",
        "model",
        "net",
        "network",
        "module",
    ),
    *("weights", "params", "student", "generator", "backbone"),
    *("ema", "model_ema", "ema_state_dict", "state_dict_ema"),
)
#: Names of other things that hold tensors and are no weights.
_STATES = ("optim", "sched", "scaler", "amp", "rng", "grad", "loops", "callbacks", "swa_state")
_MASKS = re.compile(r"(^|[_.\-])masks?($|[_.\-])", re.IGNORECASE)
#: How deep a state dict may be nested: {'checkpoint': {'model': {...}}} is two.
_DEPTH = 3


@dataclass(frozen=True)
class Found:
    """The weights in a loaded object: where they were, as a dict or a whole module.

    Attributes
    ----------
    beside
        Everything else on the way to them: what may hold their masks, and what is ignored.
    fallback
        The weights that would have been taken, where others were asked for: averages often lack the buffers.
    choices
        Other weights of the file, as `--weights` takes them.
    """

    weights: Any
    where: str
    notes: list[Note]
    arch: str | None = None
    beside: dict[str, Any] = field(default_factory=dict)
    fallback: Any = None
    choices: list[str] = field(default_factory=list)


def find(loaded: Any, path: str, wanted: str | None = None) -> Found:
    """The state dict, or the module, inside a loaded object.

    Parameters
    ----------
    wanted
        Which of several: the key that holds it (dotted where nested), or "ema" for averaged weights.

    Raises
    ------
    InputError
        If there is none, or not the one wanted.
    """
    import torch

    if isinstance(loaded, torch.nn.Module):
        return Found(loaded, "", [])
    if isinstance(loaded, torch.Tensor):
        raise InputError(f"{path}: holds a single tensor, not a state dict; save model.state_dict()")
    if isinstance(loaded, (list, tuple)):  # (state dict, epoch)
        held = [item for item in loaded if isinstance(item, torch.nn.Module) or _holds_tensors(item)]
        loaded = held[0] if len(held) == 1 else loaded
        if isinstance(loaded, torch.nn.Module):
            return Found(loaded, "", [])
    if not isinstance(loaded, Mapping):
        raise InputError(
            f"{path}: holds a {type(loaded).__name__}, not a state dict; save model.state_dict()"
        )
    usual = _place(loaded, _DEPTH)
    place = usual if wanted is None else _wanted(loaded, wanted, usual, path)
    if place is None:
        if not loaded:
            raise InputError(f"{path}: holds an empty state dict: no tensors, nothing to pack")
        keys = listed([str(key) for key in loaded])
        raise InputError(f"{path}: holds no model weights, only: {keys}; save model.state_dict()")
    weights, beside = _follow(loaded, place)
    where = "".join(f"['{shown(key)}']" for key in place)
    notes = [Note("info", f"weights found under {where}")] if where else []
    arch = next((v for k in ("arch", "architecture") if isinstance(v := loaded.get(k), str)), None)
    others = [".".join(map(str, other)) for other in _places(loaded) if other != place and other]
    fallback = None if wanted is None or usual in (None, place) else _follow(loaded, usual or ())[0]
    return Found(weights, where, notes, arch, beside, fallback, others)


def _follow(loaded: Mapping[Any, Any], place: Place) -> tuple[Any, dict[str, Any]]:
    """What lies at `place`, and everything beside the way to it."""
    value: Any = loaded
    beside: dict[str, Any] = {}
    for key in place:
        beside |= {str(k): v for k, v in value.items() if k != key}
        value = value[key]
    return value, beside


def _wanted(loaded: Mapping[Any, Any], wanted: str, usual: Place | None, path: str) -> Place:
    """The place that `--weights` means.

    Raises
    ------
    InputError
        If there is none, saying what there is.
    """
    there = {".".join(map(str, place)): place for place in _places(loaded)}
    exact = there.get(wanted) or next((p for p in there.values() if p and str(p[-1]) == wanted), None)
    if exact is None and wanted in map(str, loaded):  # a dict around the weights
        inside = [place for place in there.values() if place and str(place[0]) == wanted]
        exact = min(inside, key=len, default=None)
    if exact is None and wanted == "ema":
        exact = next((p for p in there.values() if any(names.averaged(str(key)) for key in p)), None)
        inner = _follow(loaded, usual)[0] if exact is None and usual is not None else None
        if isinstance(inner, Mapping) and any(names.averaged(str(key).partition(".")[0]) for key in inner):
            return usual or ()  # they lie in the same dict, under a prefix
    if exact is None:
        found = listed([name for name in there if name] or ["one state dict, unnamed"], 8)
        raise InputError(f"{path}: no weights '{shown(wanted)}' in the file (--weights); it holds: {found}")
    return exact


def _places(loaded: Mapping[Any, Any]) -> Iterator[Place]:
    """Where weights lie in the object: every dict of tensors, and every module, that is no training state."""
    import torch

    def walk(value: Any, place: Place) -> Iterator[Place]:
        if isinstance(value, torch.nn.Module):
            yield place
        elif isinstance(value, Mapping) and len(place) <= _DEPTH:
            if any(isinstance(item, torch.Tensor) and item.ndim > 1 for item in value.values()):
                yield place
                return
            for key, inner in value.items():
                if not _is_state(str(key)):
                    yield from walk(inner, (*place, key))

    yield from walk(loaded, ())


def _place(value: Mapping[Any, Any], depth: int) -> Place | None:
    """Keys that lead to the weights inside `value`, () if it is the state dict itself."""
    import torch

    nested = {key: inner for key, inner in value.items() if isinstance(inner, (Mapping, torch.nn.Module))}
    tensors = sum(isinstance(item, torch.Tensor) for item in value.values())
    if tensors > 1 and not any(str(key).lower() in _HOLDERS for key in nested):
        return ()  # a state dict with an extra state in it, not a dict around one
    ranked = sorted(nested, key=lambda key: _rank(str(key)))
    for key in ranked:
        if _is_state(str(key)):
            continue
        inner = nested[key]
        if isinstance(inner, torch.nn.Module):
            return (key,)
        rest = _place(inner, depth - 1) if depth else None
        if rest is not None:
            return (key, *rest)
    return () if tensors else None


def _rank(key: str) -> int:
    lower = key.lower()
    if lower in _HOLDERS:
        return _HOLDERS.index(lower)
    return len(_HOLDERS) + names.averaged(key)


def _is_state(key: str) -> bool:
    return any(word in key.lower() for word in _STATES) or _MASKS.search(key) is not None


def ignored(others: Mapping[str, Any], choices: list[str]) -> list[Note]:
    """What lies beside the weights and is left out."""
    import torch

    states = [key for key, value in others.items() if isinstance(value, (Mapping, list)) and _is_state(key)]
    weights = [
        key
        for key, value in others.items()
        if key not in states and (isinstance(value, torch.nn.Module) or _holds_tensors(value))
    ]
    rest = [key for key in others if key not in states and key not in weights]
    notes = []
    masks = [key for key in states if _MASKS.search(key)]
    states = [key for key in states if key not in masks]
    if masks:
        text = "masks in the file not applied (they fit no weight, or hold more than 0 and 1)"
        notes.append(Note("warn", f"{text}: {listed(masks)}"))
    if states:
        notes.append(Note("info", f"optimizer and training state ignored: {listed(states)}"))
    if weights:
        way = f"; --weights {shown(choices[0])} takes those instead" if choices else ""
        notes.append(Note("warn", f"other weights in the file ignored: {listed(weights)}{way}"))
    if rest:
        notes.append(Note("info", f"metadata ignored: {listed(rest, 6)}"))
    return notes


def _holds_tensors(value: Any) -> bool:
    import torch

    return isinstance(value, Mapping) and any(
        isinstance(item, torch.Tensor) or (isinstance(item, Mapping) and _holds_tensors(item))
        for item in value.values()
    )


def tensors_of(weights: Mapping[Any, Any]) -> tuple[dict[str, torch.Tensor], list[Note]]:
    """The tensors of a state dict by name, and a note of the entries that are none.

    Raises
    ------
    UnsupportedError
        If its weights are packed for torch's own quantised kernels.
    """
    import torch

    packed = next((str(key) for key in weights if "_packed_params" in str(key)), None)
    if packed is not None:
        raise UnsupportedError(
            f"'{shown(packed)}' holds weights quantised by torch: save the float model's state dict, before"
            " convert() or quantize_dynamic()"
        )

    tensors = {str(k): v.detach() for k, v in weights.items() if isinstance(v, torch.Tensor)}
    others = [str(k) for k, v in weights.items() if not isinstance(v, torch.Tensor)]
    notes = [Note("info", f"entries that are no tensors ignored: {listed(others)}")] if others else []
    return tensors, notes


def mapping(loaded: Any, path: object) -> Mapping[Any, Any]:
    """A loaded object that must be a flat state dict, as a shard is.

    Raises
    ------
    InputError
        If it is something else.
    """
    if not isinstance(loaded, Mapping):
        raise InputError(f"{shown(path)}: holds a {type(loaded).__name__}, not a part of a state dict")
    return loaded
