"""Weights of a file without its net, a state dict or an ONNX model: pruned by magnitude, or made binary.

The accuracy needs a net, the zeros do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch

from ..errors import InputError
from ..exporter import checkpoint
from ..exporter.files.targets import SourceFiles, check_target
from . import binarize, checkpoints, targets
from .onnx_weights import OnnxFile
from .outcome import Outcome

Weights = dict[str, torch.Tensor]
_RNN = re.compile(r"(.*\.)?weight_[ih]h(_l\d+(_reverse)?)?")
_EMBEDDING = re.compile(r"(^|[._])(\w*emb(ed\w*)?|wte|wpe|lookup)$", re.IGNORECASE)


class Held(Protocol):
    """A file whose weights can be changed."""

    label: str

    def weights(self, layers: Iterable[str], kinds: Iterable[str]) -> Weights:
        """Name -> weight, outputs first: what is put back must have the same shape."""

    def put(self, name: str, weight: torch.Tensor) -> None:
        """Replace a weight."""

    def write(self, output: Path, force: bool) -> None:
        """Write the file with its weights as they are now."""


class StateFile:
    """A state dict without its net: what kind a weight is of is told by its name and its dimensions."""

    label = "state dict"

    def __init__(self, path: Path) -> None:
        loaded = checkpoint.load(path, mmap=False)
        if loaded.kind == "pt2":
            raise InputError(
                f"{path}: a program is pruned as its module was: give the state dict it came from"
            )
        self.tensors = loaded.tensors

    def weights(self, layers: Iterable[str], kinds: Iterable[str]) -> Weights:
        """Name -> weight; a transposed convolution cannot be told from a plain one."""
        found = {}
        for name, tensor in self.tensors.items():
            kind = kind_of(name, tensor)
            if kind is not None:
                found[name.removesuffix(".weight")] = (kind, tensor)
        return targets.chosen(found, layers, kinds)

    def put(self, name: str, weight: torch.Tensor) -> None:
        """In place, so that tied weights stay one."""
        key = name if name in self.tensors and kind_of(name, self.tensors[name]) else f"{name}.weight"
        self.tensors[key].copy_(weight)

    def mask(self, name: str, mask: torch.Tensor) -> None:
        """Write this weight as torch.nn.utils.prune does: `weight_orig` and `weight_mask`."""
        key = name if name in self.tensors else f"{name}.weight"
        items = list(self.tensors.items())
        place = list(self.tensors).index(key)
        items[place : place + 1] = [
            (f"{key}_orig", items[place][1]),
            (f"{key}_mask", mask.to(items[place][1].dtype)),
        ]
        self.tensors = dict(items)

    def write(self, output: Path, force: bool) -> None:
        checkpoints.write(output, self.tensors, force=force)


def kind_of(name: str, tensor: torch.Tensor) -> str | None:
    """The kind of a weight of a state dict, None for what is no weight of a layer."""
    leaf = name.rpartition(".")[2]
    if tensor.dim() < 2 or not tensor.is_floating_point() or "weight" not in leaf or "norm" in leaf:
        return None
    if _RNN.fullmatch(name):
        return "rnn"
    if leaf == "in_proj_weight":
        return "attention"
    if tensor.dim() == 2 and _EMBEDDING.search(name.rpartition(".")[0]):
        return "embedding"
    return "linear" if tensor.dim() == 2 else "conv"


def opened(path: Path) -> Held:
    """The file at `path` with its weights.

    Raises
    ------
    InputError
        If it holds none.
    """
    return OnnxFile(path) if is_graph(path) else StateFile(path)


def is_graph(path: Path) -> bool:
    """Whether the file is an ONNX model, by its name."""
    return path.suffix.lower() == ".onnx"


def check_output(source: Path, output: Path, force: bool) -> None:
    """Raise InputError unless `output` is of the source's kind and can be written."""
    if is_graph(source) != is_graph(output):
        raise InputError(
            f"{output}: an .onnx file becomes an .onnx file, a checkpoint a checkpoint; change -o"
        )
    check_target(output, force=force, sources=SourceFiles(source))


def prune_file(
    source: Path,
    output: Path,
    choose: Callable[[Weights], dict[str, torch.Tensor]],
    layers: Iterable[str] = (),
    kinds: Iterable[str] = (),
    *,
    force: bool = False,
    keep_masks: bool = False,
) -> Outcome:
    """Prune the weights of a file; the outcome counts those that were chosen.

    Raises
    ------
    InputError
        If the file has no such weights, or masks are to be kept in an ONNX model.
    """
    check_output(source, output, force)
    held = opened(source)
    weights = held.weights(list(layers), list(kinds))
    masks = choose(weights)
    if keep_masks and not isinstance(held, StateFile):
        raise InputError("an .onnx file has no masks to keep: leave out --keep-masks")
    left = 0
    for name, mask in masks.items():
        left += int((weights[name].masked_fill(~mask, 0.0) != 0).sum())
        if keep_masks and isinstance(held, StateFile):
            held.mask(name, mask)
        else:
            held.put(name, weights[name].masked_fill(~mask, 0.0))
    held.write(output, force)
    return Outcome(str(output), held.label, None, left, sum(weights[name].numel() for name in masks))


def binarize_file(source: Path, output: Path, layers: Iterable[str] = (), *, force: bool = False) -> Outcome:
    """Replace weights of a file by alpha sign(W): those that the globs name, else all but the first and last.

    Raises
    ------
    InputError
        If no weight is left to binarize.
    """
    check_output(source, output, force)
    held = opened(source)
    globs = list(layers)
    weights = held.weights(globs, ())
    names = list(weights) if globs else list(weights)[1:-1]
    if not names:
        raise InputError(binarize.NOTHING_LEFT)
    for name in names:
        held.put(name, binarize.binary(weights[name], scaled=True))
    held.write(output, force)
    after = held.weights(globs, ())
    left = sum(int(weight.count_nonzero()) for weight in after.values())
    return Outcome(str(output), held.label, None, left, sum(weight.numel() for weight in after.values()))
