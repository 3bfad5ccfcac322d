"""What the exporter fuses behind a layer is what the library's epilogue does."""

from __future__ import annotations

import pytest

from sparse_export.exporter.graph.activations import ACTIVATIONS

from .layers import SIGN_PREFIXES
from .tables import OPERATORS

PLAIN = ("", *ACTIVATIONS)
WANTED = {"MatMul": {*PLAIN}, "Conv": {*PLAIN, *(f"Add{suffix}" for suffix in PLAIN)}}


@pytest.mark.parametrize("layer", WANTED)
def test_library_and_exporter_know_the_same_suffixes(layer: str) -> None:
    floats = [one for one in OPERATORS if one.layer == layer and one.prefix not in SIGN_PREFIXES]
    for prefix in {one.prefix for one in floats}:
        assert {one.suffix for one in floats if one.prefix == prefix} == WANTED[layer], prefix
