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


def test_four_bits_stand_beside_linear_layers_and_the_best_vectors_come_first(results: ModuleType) -> None:
    times = {"density": 0.1, "dense": 1.5, "sparse": 0.5, "ratio": 3.0}
    rows = [
        times | {"layer": "3x3", "target": "avx2"},
        times | {"layer": "linear", "4bit": 0.1, "target": "avx512"},
    ]
    *_, first, second = results.kernels({"rows": rows}).splitlines()
    assert first == "| linear | 90% | AVX-512 | 1.50 | 0.500 | 3.00x | **0.100** |"
    assert second == "| 3x3 | 90% | AVX2 | 1.50 | **0.500** | 3.00x |  |"


def test_a_default_file_stands_beside_dense_and_csr(results: ModuleType) -> None:
    row = {"model": "net", "sparsity": 0.5, "target": "avx2", "ratio": 2.0}
    row |= {"ms": {"dense": 4.0, "default": 2.0, "csr": 1.6, "other": 2.5}}
    row |= {"bytes": {"dense": 9, "default": 3_000_000, "csr": 4_000_000, "other": 9}}
    last = results.defaults({"rows": [row]}).splitlines()[-1]
    assert last == "| net | 50% | AVX2 | 4.00 | 2.00 | 2.00x | 1.60x | 1.25 | 3.00 MB | 0.75 |"


def test_a_result_keeps_rows_that_were_not_measured_again(common: ModuleType) -> None:
    rows = [{"layer": "a", "target": "avx2", "ms": 1}, {"layer": "a", "target": "scalar", "ms": 2}]
    common.save("kernels", rows)
    newer = [{"layer": "a", "target": "scalar", "ms": 3}, {"layer": "b", "target": "avx2", "ms": 4}]
    found = common.merged("kernels", newer, ("layer", "target"))
    assert [(row["layer"], row["target"], row["ms"]) for row in found] == [
        ("a", "avx2", 1),
        ("a", "scalar", 3),
        ("b", "avx2", 4),
    ]
