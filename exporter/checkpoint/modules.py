"""A whole pickled module as a plain one: wrappers off, pruning and parametrizations folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import UnsupportedError
from ...notes import Note
from ...text import counted, listed, shown

if TYPE_CHECKING:
    import torch


def plain(module: torch.nn.Module, path: str) -> tuple[torch.nn.Module, list[Note]]:
    """`module` in evaluation mode with its reparametrisations folded in place, and what was done.

    Raises
    ------
    UnsupportedError
        If the module is a TorchScript one, or refuses to be folded.
    """
    import torch
    from torch.nn.utils import parametrize, prune

    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedError(
            f"{path}: a TorchScript module; give the state dict of the eager module and --arch"
        )
    notes = [Note("info", f"whole module: {shown(type(module).__qualname__)}")]
    while isinstance(module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        module = module.module
        notes.append(Note("info", "DataParallel wrapper removed"))
    inner = getattr(module, "_orig_mod", None)  # torch.compile
    if isinstance(inner, torch.nn.Module):
        module = inner
    folded: list[str] = []
    for name, child in module.named_modules():
        prefix = f"{name}." if name else ""
        for weight in [
            key.removesuffix("_mask")
            for key, _ in child.named_buffers(recurse=False)
            if key.endswith("_mask")
        ]:
            if f"{weight}_orig" in child._parameters:
                prune.remove(child, weight)  # type: ignore[no-untyped-call]
                folded.append(prefix + weight)
        for weight in list(
            getattr(child, "parametrizations", {}) if parametrize.is_parametrized(child) else {}
        ):
            parametrize.remove_parametrizations(child, weight, leave_parametrized=True)
            folded.append(prefix + weight)
    if folded:
        notes.append(
            Note("info", f"pruning masks folded into {counted(len(folded), 'tensor')}: {listed(folded)}")
        )
    return module.eval(), notes
