"""Input dimensions that stay open in the graph: the batch, and those that `--dynamic NAME:AXIS` names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from ...text import counted, listed, shown

if TYPE_CHECKING:
    import torch

#: Name of the free first dimension in the file.
BATCH = "batch"


def refuse(path: Path, dynamic: Sequence[str], what: str) -> None:
    """Raise InputError if open dimensions were asked for of a graph, whose own are kept."""
    if dynamic:
        raise InputError(
            f"{shown(path)}: --dynamic is for nets that torch traces; {what} keeps its own dimensions"
        )


def names_of(module: torch.nn.Module, count: int) -> list[str]:
    """Names of the module's first `count` inputs, as its `forward` calls them; numbers where it does not."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        parameters = []  # type: ignore[assignment]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [names[i] if i < len(names) else str(i) for i in range(count)]


def parse(dynamic: Sequence[str], names: list[str], ranks: list[int]) -> list[dict[int, str]]:
    """For every input its open axes and their names in the file, the batch among them.

    Parameters
    ----------
    dynamic
        "NAME:AXIS" or "NAME:AXIS=LABEL"; the same label means the same size. An input's number stands for its
        name, and a negative axis counts from the end.

    Raises
    ------
    InputError
        If there is no such input or axis.
    """
    axes: list[dict[int, str]] = [{0: BATCH} if rank else {} for rank in ranks]
    for text in dynamic:
        place, _, label = text.partition("=")
        name, colon, number = place.rpartition(":")
        try:
            axis = int(number)
        except ValueError:
            colon = ""
        if not colon or not name or (label and not label.isidentifier()):
            raise InputError(f"'{shown(text)}': write --dynamic NAME:AXIS, for example input_ids:1")
        index = names.index(name) if name in names else int(name) if name.isdigit() else len(names)
        if index >= len(names):
            raise InputError(
                f"--dynamic {shown(text)}: the net has no input '{shown(name)}'; it takes {listed(names)}"
            )
        rank = ranks[index]
        if not -rank <= axis < rank:
            raise InputError(
                f"--dynamic {shown(text)}: '{shown(names[index])}' has {counted(rank, 'dimension')}"
            )
        axis %= rank
        if axis:
            axes[index][axis] = label or f"{names[index]}_{axis}"
    return axes
