"""A state dict under the names that a net may have in it: below a prefix, without a wrapper's parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]

#: Prefixes that hold the net itself, the likeliest first; a teacher or an average is taken on request only.
_HOLDERS = ("model", "net", "network", "module", "student", "backbone", "encoder", "generator", "classifier")
_LAST = ("teacher", "ema", "swa", "avg", "average", "averaged", "shadow", "momentum", "target")


@dataclass(frozen=True)
class View:
    """Names of a net, each with the name it has in the file.

    Attributes
    ----------
    prefix
        What was left out of the names' heads: "model.".
    """

    names: Mapping[str, str]
    prefix: str = ""

    def shapes(self, have: Shapes) -> dict[str, tuple[int, ...]]:
        """Name in the net to shape."""
        return {inner: have[name] for inner, name in self.names.items()}


def views(have: Shapes, prefixes: list[str]) -> Iterator[View]:
    """The file's own names, then those below each prefix; each also without DataParallel's `module.`."""
    for prefix in ["", *prefixes]:
        inner = {name.removeprefix(prefix): name for name in have if name.startswith(prefix)}
        if inner:
            yield View(inner, prefix)
            bare = {".".join(p for p in name.split(".") if p != "module"): name for name in inner}
            if len(bare) == len(inner) and set(bare) != set(inner):
                yield View({name: inner[old] for name, old in bare.items()}, prefix)


def stripped(have: Shapes) -> View | None:
    """Every name without the holders at its head, name by name: where only a part of the net was wrapped."""
    inner = {}
    for name in have:
        parts = [part for part in name.split(".") if part != "module"]
        while len(parts) > 1 and parts[0] in _HOLDERS:
            parts = parts[1:]
        inner[".".join(parts)] = name
    changed = len(inner) == len(have) and any(new != old for new, old in inner.items())
    return View(inner) if changed else None


def prefixes_of(have: Shapes, probe: str) -> list[str]:
    """Prefixes under which the file has the name `probe`, as a net's own code would find it."""
    found = {name[: -len(probe)] for name in have if name.endswith(f".{probe}")}
    return sorted(found, key=_likely)


def likely_prefixes(have: Shapes) -> list[str]:
    """Prefixes that may hold a whole net: over half of all tensors, or named like one."""
    counts: dict[str, int] = defaultdict(int)
    for name in have:
        parts = name.split(".")
        for depth in (1, 2):
            if len(parts) > depth:
                counts[".".join(parts[:depth]) + "."] += 1
    chosen = [p for p, n in counts.items() if 2 * n > len(have) or _likely(p)[0] < len(_HOLDERS)]
    return sorted(chosen, key=_likely)


def _likely(prefix: str) -> tuple[int, int, str]:
    head = prefix.removesuffix(".").rpartition(".")[2].lower()
    words = prefix.lower().replace(".", "_").split("_")
    if any(word in _LAST for word in words):
        rank = len(_HOLDERS) + 1
    else:
        rank = _HOLDERS.index(head) if head in _HOLDERS else len(_HOLDERS)
    return rank, len(prefix), prefix
