"""The table of formats: the one place that a new format is added to, beside its own file."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from ..errors import InputError
from ..exporter.files import container
from .base import Format, Packed, TensorStats
from .parts.choice import Choice, choose

#: Format name -> "module:Class". CLI choices, README table, contract tests, golden files and fuzz seeds
#: derive from it and from `DERIVED`.
FORMATS = {
    "dense": "dense:Dense",
    "csr": "csr:Csr",
    "bsr": "bsr:Bsr",
    "bitmask": "bitmask:Bitmask",
    "nm": "nm:Nm",
    "bitpack": "bitpack:Bitpack",
    "ternary": "ternary:Ternary",
    "codebook": "codebook:Codebook",
    "tight": "tight:Tight",
    "palette": "palette:Palette",
    "signmask": "signs:Signmask",
    "signgaps": "signs:Signgaps",
    "split": "split:Split",
}
#: The same for formats that nobody asks for by name: what a weight becomes for the operators of signs.
DERIVED = {"signbits": "signbits:Signbits"}

__all__ = [
    "FORMATS",
    "Choice",
    "Format",
    "Packed",
    "TensorStats",
    "all_formats",
    "asked",
    "choose",
    "container",
    "get",
    "packable",
    "with_kernel",
]


@cache
def get(name: str) -> Format:
    """The format of that name.

    Raises
    ------
    InputError
        If no format has that name.
    """
    found = FORMATS.get(name) or DERIVED.get(name)
    if found is None:
        raise InputError(f"unknown format '{name}'; choose from {', '.join(FORMATS)}")
    module, _, cls = found.partition(":")
    fmt: Format = getattr(import_module(f".{module}", __name__), cls)()
    return fmt


def asked(name: str) -> Format:
    """The format that somebody asks for by that name.

    Raises
    ------
    InputError
        If there is none that a weight can be given.
    """
    if name not in FORMATS:
        raise InputError(f"unknown format '{name}'; choose from {', '.join(FORMATS)}")
    return get(name)


def all_formats() -> list[Format]:
    """Every format, in table order."""
    return [get(name) for name in (*FORMATS, *DERIVED)]


def packable() -> list[Format]:
    """The formats that a layer's weight can be given in an ONNX file, in table order."""
    return [fmt for fmt in all_formats() if fmt.operator is not None]


def with_kernel(device: str = "cpu") -> list[Format]:
    """The formats that a kernel reads on that device, the fastest first."""
    found = [fmt for fmt in packable() if device in fmt.kernels]
    return sorted(found, key=lambda fmt: fmt.precedence)
