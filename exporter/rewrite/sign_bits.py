"""The signs of a binary weight: what is left of it for a layer that takes the signs of its activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ... import formats
from ...formats import Packed


def signs(packed: Packed) -> Packed:
    """The signs of a packed weight in the format that the operators of signs read; alpha is left out.

    Examples
    --------
    >>> weight = np.array([[[0.5, 0.5, -0.5], [0.5, -0.5, -0.5]]], np.float32)
    >>> held = signs(formats.get("bitpack").pack(weight))
    >>> held.format, held.components["bits"].tolist()
    ('signbits', [[56]])
    """
    fmt = formats.get(packed.format)
    assert fmt.sign_format is not None and fmt.scale_component is not None
    ones = {fmt.scale_component: np.ones(1, packed.dtype)}
    dense = fmt.unpack(replace(packed, components={**packed.components, **ones}))
    return formats.get(fmt.sign_format).pack(dense)
