"""Inputs to trace a net with."""

from __future__ import annotations

import torch

from ...errors import InputError
from ...text import shown

_DTYPES = {
    **{str(d)[6:]: d for d in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool)},
    **{str(d)[6:]: d for d in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)},
}


def example_inputs(
    name: str,
    shapes: list[tuple[int, ...]] | None,
    dtypes: list[str] | None,
    default: tuple[int, ...] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Seeded inputs of the given shapes and dtypes: normal floats, integers 0 and 1."""
    if not shapes:
        if default is None:
            raise InputError(
                f"'{shown(name)}' does not tell its input: give --input-shape, for example 1x3x224x224"
            )
        shapes = [default]
    kinds = dtypes or ["float32"]
    if len(kinds) == 1:
        kinds = kinds * len(shapes)
    if len(kinds) != len(shapes):
        raise InputError(
            f"{len(kinds)} input dtypes for {len(shapes)} inputs: give one for all, or one for each"
        )
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for shape, kind in zip(shapes, kinds, strict=True):
        if kind not in _DTYPES:
            raise InputError(f"unknown input dtype '{shown(kind)}': one of {', '.join(_DTYPES)}")
        if not shape or min(shape) < 1:
            raise InputError(
                f"input shape {'x'.join(map(str, shape)) or '()'}: every dimension must be at least 1"
            )
        dtype = _DTYPES[kind]
        if dtype.is_floating_point:
            inputs.append(torch.randn(shape, generator=generator).to(dtype))
        else:
            inputs.append(torch.randint(0, 2, shape, generator=generator).to(dtype))
    return tuple(inputs)
