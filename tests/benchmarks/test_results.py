"""README.md's tables say which runtime is the fastest, ours or not."""

from __future__ import annotations

from types import ModuleType
from typing import Any

NET: dict[str, Any] = {"model": "net", "sparsity": 0.9, "threads": 1, "dense": 4.0, "sparse": 2.0}
NET |= {"ratio": 2.0, "target": 3.0}


def test_the_fastest_is_bold_and_a_sentence_counts_what_int8_wins(results: ModuleType) -> None:
    rows = [NET | {"int8": 0.5, "openvino": 3.0}, NET | {"threads": 2, "int8": 2.5, "openvino": 3.0}]
    text = results.models({"rows": rows})
    assert "| net | 90 % | 1 | 4.00 | 2.00 | 2.00x | 3x | **0.500** | 3.00 |" in text
    assert "| net | 90 % | 2 | 4.00 | **2.00** | 2.00x |  | 2.50 | 3.00 |" in text
    assert "is faster than packed in 1 of 2 rows." in text
    assert "is faster than packed in 0 of 2 rows." in text


def test_a_peer_that_was_not_measured_has_no_column(results: ModuleType) -> None:
    text = results.models({"rows": [NET]})
    assert "INT8" not in text and "OpenVINO" not in text


def test_four_bit_weights_stand_beside_linear_layers_only(results: ModuleType) -> None:
    times = {"density": 0.1, "dense": 1.5, "sparse": 0.5, "ratio": 3.0}
    rows = [times | {"layer": "3x3"}, times | {"layer": "linear", "4bit": 0.1}]
    text = results.kernels({"rows": rows})
    assert "| linear | 1.50 | 0.500 | 3.00x | **0.100** |" in text
    assert "3x3" not in text
    assert results.kernels({"rows": rows[:1]}) == ""
