"""Names of tensors without what wrappers put into them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...errors import InputError
from ...notes import Note
from ...text import counted, listed, shown

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

#: Parts that only wrappers write, anywhere in a name: torch.compile, FSDP, checkpointing, DeepSpeed.
_ANYWHERE = (
    *("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"),
    *("_fpw_module", "_ddp_module"),
)
#: Parts that wrappers write at the head of every name: DataParallel, NNCF, Opacus.
_HEADS = ("module", "nncf_module", "_module")
#: Parts of a name that say that its weights are averages over the training.
_AVERAGED = re.compile(r"(^|[._\-])(\w*ema|ema\w*|swa\w*|averaged?|shadow\w*)($|[._\-])", re.IGNORECASE)


def averaged(name: str) -> bool:
    """Whether a key speaks of averaged weights: `ema`, `model_ema`, `state_dict_ema`, `swa_model`."""
    return _AVERAGED.search(name.replace("_", ".")) is not None


def unwrapped(tensors: Tensors) -> tuple[Tensors, list[Note]]:
    """`tensors` without the parts that wrappers put into their names, in the same order."""
    removed: dict[str, None] = {}
    notes = []
    if "n_averaged" in tensors and all(n.startswith("module.") for n in tensors if n != "n_averaged"):
        tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}
        notes.append(Note("info", "averaged model (swa/ema): its counter n_averaged is ignored"))
    inner = {name: _without(name, removed) for name in tensors}
    if len(set(inner.values())) == len(tensors):
        tensors = {inner[name]: tensor for name, tensor in tensors.items()}
    else:
        removed = {}
    while head := next((h for h in _HEADS if tensors and all(n.startswith(f"{h}.") for n in tensors)), None):
        tensors = {name.removeprefix(f"{head}."): tensor for name, tensor in tensors.items()}
        removed[head] = None
    if removed:
        names = ", ".join(f"'{part}.'" for part in removed)
        notes.append(Note("info", f"prefix removed from every name: {names}"))
    return tensors, notes


def _without(name: str, removed: dict[str, None]) -> str:
    parts = name.split(".")
    for part in parts[:-1]:
        if part in _ANYWHERE:
            removed[part] = None
    return ".".join([part for part in parts[:-1] if part not in _ANYWHERE] + parts[-1:])


def below(tensors: Tensors, prefix: str) -> tuple[Tensors, list[Note]]:
    """The tensors whose names start with `prefix`, without it.

    Raises
    ------
    InputError
        If there are none, saying which prefixes there are.
    """
    prefix = prefix if prefix.endswith(".") else f"{prefix}."
    chosen = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    if not chosen:
        heads = dict.fromkeys(f"{name.partition('.')[0]}." for name in tensors if "." in name)
        there = listed(list(heads), 8) if heads else "none: no name has a dot"
        raise InputError(f"no tensor's name starts with '{shown(prefix)}' (--prefix); prefixes: {there}")
    rest = [name for name in tensors if not name.startswith(prefix)]
    notes = [Note("info", f"tensors under '{shown(prefix)}' taken (--prefix)")]
    if rest:
        notes.append(Note("info", f"{counted(len(rest), 'tensor')} outside it left out: {listed(rest)}"))
    return chosen, notes
