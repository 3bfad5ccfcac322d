"""Names, order, types and ranks of a file's inputs and outputs against its source's."""

from __future__ import annotations

from ...errors import VerificationError
from ...runtime.stock import Session
from ...text import listed, shown
from ..reference import OnnxReference, Reference


def check_signature(reference: Reference, file: Session) -> None:
    """Refuse a file that a program written for the source could not use.

    A module has no names of its own: there only what its runs give counts.

    Raises
    ------
    VerificationError
        Naming the first input or output that differs.
    """
    if not isinstance(reference, OnnxReference):
        return
    source = reference.session()
    wanted_names = [spec.name for spec in source.inputs]
    got = {spec.name: spec for spec in file.inputs}
    if set(wanted_names) != set(got):
        raise VerificationError(
            f"the file takes the inputs {listed(list(got), 12) or 'none'}, the source "
            f"{listed(wanted_names, 12) or 'none'}"
        )
    for spec in source.inputs:
        other = got[spec.name]
        if (spec.dtype, spec.wrap) != (other.dtype, other.wrap):
            raise VerificationError(
                f"input '{shown(spec.name)}' is {other.dtype}, the source's is {spec.dtype}"
            )
        if spec.shape and len(spec.shape) != len(other.shape):
            raise VerificationError(
                f"input '{shown(spec.name)}' has {len(other.shape)} dimensions,"
                f" the source's {len(spec.shape)}"
            )
    names = [name for name, _, _ in source.outputs]
    given = [name for name, _, _ in file.outputs]
    if names != given:
        raise VerificationError(f"the file gives {listed(given, 12)}, the source {listed(names, 12)}")
    for (name, kind, rank), (_, other_kind, other_rank) in zip(source.outputs, file.outputs, strict=True):
        if kind != other_kind:
            raise VerificationError(f"output '{shown(name)}' is {other_kind}, the source's is {kind}")
        if rank is not None and other_rank is not None and rank != other_rank:
            raise VerificationError(
                f"output '{shown(name)}' has {other_rank} dimensions, the source's {rank}"
            )
