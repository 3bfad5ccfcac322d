"""The state dict inside whatever `torch.save` was given, without the prefixes of wrappers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...notes import Note
from ...text import listed, shown

if TYPE_CHECKING:
    import torch

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
    *("weights", "params", "generator", "backbone", "ema", "model_ema", "ema_state_dict", "state_dict_ema"),
)
#: Names of other things that hold tensors and are no weights.
_STATES = ("optim", "sched", "scaler", "amp", "rng", "grad", "loops", "callbacks", "swa_state")
#: How deep a state dict may be nested: {'checkpoint': {'model': {...}}} is two.
_DEPTH = 3
#: Prefixes that wrappers (DataParallel, DistributedDataParallel, torch.compile) put before every name.
_WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Found:
    """The weights in a loaded object: where they were, as a dict or a whole module."""

    weights: Any
    where: str
    notes: list[Note]
    arch: str | None = None


def find(loaded: Any, path: str) -> Found:
    """The state dict, or the module, inside a loaded object.

    Raises
    ------
    InputError
        If there is none.
    """
    import torch

    if isinstance(loaded, torch.nn.Module):
        return Found(loaded, "", [])
    if isinstance(loaded, torch.Tensor):
        raise InputError(f"{path}: holds a single tensor, not a state dict; save model.state_dict()")
    if not isinstance(loaded, Mapping):
        raise InputError(
            f"{path}: holds a {type(loaded).__name__}, not a state dict; save model.state_dict()"
        )
    place = _place(loaded, _DEPTH)
    if place is None:
        if not loaded:
            raise InputError(f"{path}: holds an empty state dict: no tensors, nothing to pack")
        keys = listed([str(key) for key in loaded])
        raise InputError(f"{path}: holds no model weights, only: {keys}; save model.state_dict()")
    notes = []
    weights: Any = loaded
    for key in place:
        others = {str(k): v for k, v in weights.items() if k != key}
        notes += _ignored(others)
        weights = weights[key]
    where = "".join(f"['{shown(key)}']" for key in place)
    if where:
        notes.insert(0, Note("info", f"weights found under {where}"))
    arch = next((v for k in ("arch", "architecture") if isinstance(v := loaded.get(k), str)), None)
    return Found(weights, where, notes, arch)


def _place(value: Mapping[Any, Any], depth: int) -> tuple[Any, ...] | None:
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
    return _HOLDERS.index(lower) if lower in _HOLDERS else len(_HOLDERS)


def _is_state(key: str) -> bool:
    return any(word in key.lower() for word in _STATES)


def _ignored(others: Mapping[str, Any]) -> list[Note]:
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
    if states:
        notes.append(Note("info", f"optimizer and training state ignored: {listed(states)}"))
    if weights:
        notes.append(Note("warn", f"other weights in the file ignored: {listed(weights)}"))
    if rest:
        notes.append(Note("info", f"metadata ignored: {listed(rest, 6)}"))
    return notes


def _holds_tensors(value: Any) -> bool:
    import torch

    return isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values())


def tensors_of(weights: Mapping[Any, Any]) -> tuple[dict[str, torch.Tensor], list[Note]]:
    """The tensors of a state dict by name, and a note of the entries that are none."""
    import torch

    tensors = {str(k): v.detach() for k, v in weights.items() if isinstance(v, torch.Tensor)}
    others = [str(k) for k, v in weights.items() if not isinstance(v, torch.Tensor)]
    notes = [Note("info", f"entries that are no tensors ignored: {listed(others)}")] if others else []
    return tensors, notes


def unprefixed(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[Note]]:
    """`tensors` without the wrappers' prefixes, in the same order."""
    removed: list[str] = []
    notes = []
    if "n_averaged" in tensors and all(
        name.startswith("module.") for name in tensors if name != "n_averaged"
    ):
        tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}
        notes.append(Note("info", "averaged model (swa/ema): its counter n_averaged is ignored"))
    while prefix := next((p for p in _WRAPPERS if tensors and all(n.startswith(p) for n in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        removed.append(prefix)
    if any("._orig_mod." in name for name in tensors):  # single compiled submodules
        tensors = {name.replace("._orig_mod.", "."): tensor for name, tensor in tensors.items()}
        removed.append("_orig_mod.")
    if removed:
        names = ", ".join(f"'{prefix}'" for prefix in dict.fromkeys(removed))
        notes.append(Note("info", f"prefix removed from every name: {names}"))
    return tensors, notes
