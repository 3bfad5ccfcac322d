"""From what a reader gave to clean tensors: one straight line, whatever the kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...notes import Note
from ...quiet import one_thread
from ...text import counted, listed, shown
from ..files import shards
from ..files.failures import ours
from ..files.raw import Raw, Reading
from ..files.tensors import plain
from . import applied, diagnosis, masks, names, raw, statedict

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["Checkpoint", "Note", "load", "refuse_nan"]


@dataclass
class Checkpoint:
    """What was in the file.

    Attributes
    ----------
    kind
        "state-dict", "module", "safetensors", "pt2" or "onnx".
    tensors
        The state dict in its own order: prefixes gone, pruning folded, tied tensors sharing storage. Empty
        for onnx.
    module
        The whole pickled module (only from a trusted file), pruning folded.
    program
        The torch.export.ExportedProgram of a .pt2 file.
    notes
        The doctor's note.
    arch_hint
        The architecture's name if the training script saved one beside the weights.
    nans
        Number of NaN values of each tensor that has some.
    parts
        What the folding took out, by its old name: masks, and `weight_orig` masked already. A net that still
        has such buffers takes them from here.
    latent
        Weights as they were before a mask that only its place tells was applied.
    """

    path: Path
    kind: str
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    module: torch.nn.Module | None = None
    program: Any | None = None
    notes: list[Note] = field(default_factory=list)
    arch_hint: str | None = None
    nans: dict[str, int] = field(default_factory=dict)
    parts: dict[str, torch.Tensor] = field(default_factory=dict)
    latent: dict[str, applied.Latent] = field(default_factory=dict)

    @cached_property
    def onnx_model(self) -> onnx.ModelProto | None:
        """The model of an .onnx file with its external data read in, checked; None for other kinds."""
        if self.kind != "onnx":
            return None
        from ..files.onnx_read import read_onnx

        return read_onnx(self.path)


def load(
    path: str | Path,
    *,
    trust_checkpoint: bool = False,
    mmap: bool = True,
    weights: str | None = None,
    prefix: str | None = None,
) -> Checkpoint:
    """Read a checkpoint of any supported kind.

    -0.0 becomes 0: pruning writes it where it masks a negative weight, and formats that keep every bit would
    store it as a value.

    Parameters
    ----------
    path
        A file, an `*.index.json` of shards, or a folder that holds one of them.
    trust_checkpoint
        Allow pickles that run code: whole modules, and .pt2 files with custom objects.
    mmap
        Map the weights instead of reading them. The file must then stay as it is while they are used.
    weights
        Which of several state dicts in the file: its key, or "ema" for averaged weights.
    prefix
        Take only the tensors whose names start with this, and leave it out.

    Raises
    ------
    InputError
        If the file cannot be opened, holds no weights, or would run code.
    CorruptFileError
        If it breaks its own format.
    UnsupportedError
        If it holds something no step can work with, naming the tensor.
    """
    path = Path(path)
    with ours(path):
        return _load(path, Reading(trust_checkpoint, mmap), weights, prefix)


def _load(path: Path, reading: Reading, weights: str | None, prefix: str | None) -> Checkpoint:
    held = raw.read(path, reading)
    checkpoint = Checkpoint(shards.locate(path), held.kind, program=held.program, notes=held.notes)
    if held.kind == "onnx":
        _refuse_choice(checkpoint, weights, prefix)
        return checkpoint
    try:
        if held.program is not None:
            _refuse_choice(checkpoint, weights, prefix)
            _take_program(checkpoint, held)
        else:
            _take_object(checkpoint, held, weights, prefix)
    except InputError as error:
        raise _at(path, error) from error
    _describe(checkpoint)
    return checkpoint


def refuse_nan(checkpoint: Checkpoint) -> None:
    """Raise InputError if a weight is NaN, naming it: no output could be compared with the source's."""
    for name, count in checkpoint.nans.items():
        raise InputError(
            f"{shown(checkpoint.path)}: '{shown(name)}' holds {count:,} NaN of"
            f" {checkpoint.tensors[name].numel():,} values: the training diverged or the file is damaged;"
            " export an earlier checkpoint"
        )


def _at(path: Path, error: InputError) -> InputError:
    """The error with the file's name in front, once."""
    text, where = str(error), shown(path)
    return error if text.startswith(where) else type(error)(f"{where}: {text}")


def _refuse_choice(checkpoint: Checkpoint, weights: str | None, prefix: str | None) -> None:
    """A graph brings its own weights: there is nothing to choose."""
    if weights is not None or prefix is not None:
        option = "--weights" if weights is not None else "--prefix"
        raise InputError(
            f"{shown(checkpoint.path)}: holds a graph with its weights; {option} is for state dicts"
        )


def _take_program(checkpoint: Checkpoint, held: Raw) -> None:
    """The tensors of a program keep their names, the ones its graph uses; masks are applied in place."""
    checkpoint.tensors = _clean(checkpoint, held.program.state_dict, held.limit)  # type: ignore[union-attr]
    checkpoint.notes += masks.mask_in_place(checkpoint.tensors)


def _take_object(checkpoint: Checkpoint, held: Raw, weights: str | None, prefix: str | None) -> None:
    """The tensors of a state dict, a dict around one, or a whole module."""
    import torch

    found = statedict.find(held.value, shown(checkpoint.path), weights)
    checkpoint.arch_hint = found.arch
    checkpoint.notes += found.notes
    if isinstance(found.weights, torch.nn.Module):
        from .modules import plain as plain_module

        checkpoint.kind = "module"
        checkpoint.notes += statedict.ignored(found.beside, found.choices)
        checkpoint.module, notes = plain_module(found.weights, shown(checkpoint.path))
        checkpoint.notes += notes
        # A module keeps its names: they are the ones its graph uses.
        checkpoint.tensors = _clean(checkpoint, checkpoint.module.state_dict(), held.limit)
        return
    tensors = _clean(checkpoint, found.weights, held.limit)
    if isinstance(found.fallback, Mapping):
        tensors = _completed(checkpoint, tensors, found.fallback, held.limit)
    tensors, notes = names.unwrapped(tensors)
    checkpoint.notes += notes
    if prefix is None and weights == "ema" and not names.averaged(found.where):
        heads = dict.fromkeys(f"{name.partition('.')[0]}." for name in tensors)
        prefix = next((head for head in heads if names.averaged(head)), None)
    if prefix is not None:
        tensors, notes = names.below(tensors, prefix)
        checkpoint.notes += notes
        tensors, notes = names.unwrapped(tensors)
        checkpoint.notes += notes
    tensors, checkpoint.parts, notes = masks.fold(tensors)
    checkpoint.notes += notes
    among = applied.among(tensors)
    apart = applied.from_entries(among.tensors, found.beside)
    checkpoint.tensors, checkpoint.latent = apart.tensors, among.latent
    checkpoint.parts |= among.masks
    beside = {key: value for key, value in found.beside.items() if key not in apart.entries}
    checkpoint.notes += [*among.notes, *apart.notes, *statedict.ignored(beside, found.choices)]


def _completed(
    checkpoint: Checkpoint, tensors: dict[str, torch.Tensor], rest: Mapping[Any, Any], limit: int
) -> dict[str, torch.Tensor]:
    """`tensors` with what they lack of `rest` if they are a part of it, as averaged parameters are."""
    other, _ = names.unwrapped(statedict.tensors_of(rest)[0])
    inner, _ = names.unwrapped(tensors)
    lacking = [name for name in other if name not in inner]
    if not lacking or not set(inner) <= set(other):
        return tensors
    text = f"{counted(len(lacking), 'tensor')} taken from the other weights: the chosen ones lack"
    checkpoint.notes.append(Note("info", f"{text} {listed(lacking)}"))
    return {name: inner.get(name, tensor) for name, tensor in plain(other, limit).items()}


def _clean(checkpoint: Checkpoint, weights: Mapping[Any, Any], limit: int) -> dict[str, torch.Tensor]:
    """Dense, contiguous tensors on the CPU.

    Raises
    ------
    InputError
        If there are none.
    """
    tensors, notes = statedict.tensors_of(weights)
    checkpoint.notes += notes
    if not tensors:
        raise InputError("the model has no tensors: nothing to pack")
    return plain(tensors, limit)


def _describe(checkpoint: Checkpoint) -> None:
    """Clean zeros, and the doctor's note of the weights."""
    kinds = {str(t.dtype)[6:] for t in checkpoint.tensors.values() if t.is_floating_point()}
    if halves := sorted(kinds - {"float32"}):
        text = f"weights stored as {', '.join(halves)}; the exported graph is float32"
        checkpoint.notes.append(Note("info", text))
    ties = len(checkpoint.tensors) - len(diagnosis.distinct(checkpoint.tensors))
    if ties:
        text = f"tied weights: {counted(ties, 'tensor')} sharing another's storage, stored once"
        checkpoint.notes.append(Note("info", text))
    with one_thread():
        checkpoint.notes += masks.drop_negative_zeros(checkpoint.tensors)
        # The masks of a program are no weights: counting their zeros would make it look sparser than it is.
        weights = {name: t for name, t in checkpoint.tensors.items() if not name.endswith("_mask")}
        notes, checkpoint.nans = diagnosis.diagnose(weights)
    checkpoint.notes += notes
