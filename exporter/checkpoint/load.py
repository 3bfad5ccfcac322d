"""What a checkpoint file holds: clean tensors, perhaps a graph, and the doctor's note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...notes import Note
from ...quiet import one_thread
from ...text import counted, shown
from ..files import kinds, torch_file
from . import diagnosis, masks, statedict

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["Checkpoint", "Note", "load", "refuse_nan"]

#: What a sparse tensor may grow to when dense, in bytes or times the file: a hostile one can have any shape.
MAX_SPARSE = 64 << 20
MAX_GROWTH = 1000
#: What an archive may unpack to.
MAX_ARCHIVE = 1 << 40


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
    """

    path: Path
    kind: str
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    module: torch.nn.Module | None = None
    program: Any | None = None
    notes: list[Note] = field(default_factory=list)
    arch_hint: str | None = None
    nans: dict[str, int] = field(default_factory=dict)

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
) -> Checkpoint:
    """Read a checkpoint of any supported kind.

    -0.0 becomes 0: pruning writes it where it masks a negative weight, and formats that keep every bit would
    store it as a value. Only an archive, which does not come through here, keeps it.

    Parameters
    ----------
    trust_checkpoint
        Allow pickles that run code: whole modules, and .pt2 files with custom objects.
    mmap
        Map the weights instead of reading them. The file must then stay as it is while they are used.

    Raises
    ------
    InputError
        If the file cannot be opened, holds no weights, or would run code.
    CorruptFileError
        If it breaks its own format.
    UnsupportedError
        If it holds something no step can work with, naming the tensor.
    """
    from ..archive import is_archive
    from ..archive.unpacker import load as load_archive

    path = Path(path)
    kind = kinds.identify(path)
    if kind == "onnx":
        return Checkpoint(path, kind)
    if kind == "pt2":
        from ..files.pt2_file import read_pt2

        program = read_pt2(path, trust=trust_checkpoint)
        checkpoint = Checkpoint(path, kind, program=program)
        _take(checkpoint, program.state_dict)
        checkpoint.notes += masks.mask_in_place(checkpoint.tensors)
    elif kind == "safetensors" and is_archive(path):
        checkpoint = _from_object(path, load_archive(path), MAX_ARCHIVE)
        checkpoint.notes.insert(0, Note("info", "a sparse-export archive, unpacked"))
    elif kind == "safetensors":
        tensors, _ = torch_file.read_safetensors(path)
        checkpoint = Checkpoint(path, kind)
        _take(checkpoint, tensors)
    else:
        zipped = kind == "torch-zip"
        loaded = torch_file.read_torch(path, zipped=zipped, trust=trust_checkpoint, mmap=mmap)
        checkpoint = _from_object(path, loaded)
    with one_thread():
        checkpoint.notes += masks.drop_negative_zeros(checkpoint.tensors)
        # The masks of a program are no weights: counting their zeros would make it look sparser than it is.
        weights = {name: t for name, t in checkpoint.tensors.items() if not name.endswith("_mask")}
        notes, checkpoint.nans = diagnosis.diagnose(weights)
    checkpoint.notes += notes
    return checkpoint


def refuse_nan(checkpoint: Checkpoint) -> None:
    """Raise InputError if a weight is NaN, naming it: no output could be compared with the source's."""
    for name, count in checkpoint.nans.items():
        raise InputError(
            f"{shown(checkpoint.path)}: '{shown(name)}' holds {count:,} NaN of"
            f" {checkpoint.tensors[name].numel():,} values: the training diverged or the file is damaged;"
            " export an earlier checkpoint"
        )


def _from_object(path: Path, loaded: Any, limit: int | None = None) -> Checkpoint:
    """The checkpoint in what a pickle held: a state dict, a dict around one, or a module."""
    import torch

    found = statedict.find(loaded, shown(path))
    if isinstance(found.weights, torch.nn.Module):
        from .modules import plain

        module, notes = plain(found.weights, shown(path))
        checkpoint = Checkpoint(path, "module", module=module, notes=[*found.notes, *notes])
        _take(checkpoint, module.state_dict())
        return checkpoint
    checkpoint = Checkpoint(path, "state-dict", notes=list(found.notes), arch_hint=found.arch)
    _take(checkpoint, found.weights, limit)
    return checkpoint


def _take(checkpoint: Checkpoint, weights: Mapping[Any, Any], limit: int | None = None) -> None:
    """Clean `weights` into `checkpoint.tensors`, with a note for each thing done.

    A module or a program keeps its names: they are the ones its graph uses. No tensor may have more bytes
    than `limit`, by default the size of the file.
    """
    tensors, notes = statedict.tensors_of(weights)
    checkpoint.notes += notes
    if not tensors:
        raise InputError(f"{shown(checkpoint.path)}: the model has no tensors: nothing to pack")
    try:
        tensors = _plain(tensors, limit or checkpoint.path.stat().st_size)
        if checkpoint.module is None and checkpoint.program is None:
            for step in (statedict.unprefixed, masks.fold):
                tensors, notes = step(tensors)
                checkpoint.notes += notes
        checkpoint.tensors = tensors
    except InputError as error:
        raise type(error)(f"{shown(checkpoint.path)}: {error}") from error
    halves = sorted({str(t.dtype)[6:] for t in tensors.values() if t.is_floating_point()} - {"float32"})
    if halves:
        checkpoint.notes.append(
            Note("info", f"weights stored as {', '.join(halves)}; the exported graph is float32")
        )
    ties = len(tensors) - len(diagnosis.distinct(tensors))
    if ties:
        checkpoint.notes.append(
            Note("info", f"tied weights: {counted(ties, 'tensor')} sharing another's storage, stored once")
        )


def _plain(tensors: dict[str, torch.Tensor], size: int) -> dict[str, torch.Tensor]:
    """Dense, contiguous tensors on the CPU; tied ones stay tied.

    Raises
    ------
    CorruptFileError
        If a tensor claims more bytes than the file has.
    """
    import torch

    made: dict[tuple[object, ...], torch.Tensor] = {}
    result, sparse = {}, []
    for name, tensor in tensors.items():
        diagnosis.refuse_unsupported(name, tensor)
        nbytes = tensor.numel() * tensor.element_size()
        if tensor.layout is not torch.strided:
            if nbytes > max(MAX_SPARSE, MAX_GROWTH * size):
                raise UnsupportedError(
                    f"'{shown(name)}' is sparse with shape {list(tensor.shape)}: {nbytes:,} bytes when dense,"
                    f" over {MAX_GROWTH:,} times the file"
                )
            result[name] = tensor.to_dense()
            sparse.append(name)
            continue
        if nbytes > size:
            raise CorruptFileError(
                f"'{shown(name)}' claims {nbytes:,} bytes (shape {shown(list(tensor.shape))}), the file has"
                f" {size:,}"
            )
        if tensor.is_contiguous() and not tensor.is_neg():
            result[name] = tensor
            continue
        key = diagnosis.identity(tensor)
        if key not in made:
            made[key] = tensor.resolve_neg().contiguous()
        result[name] = made[key]
    return result
