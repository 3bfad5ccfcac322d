"""Portable files in OpenVINO: the dense file's outputs, and nothing of a decode left to run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ...onnx_models import residual_net
from ..test_binarize_chains import CHAINS, net
from .layers import FORMATS, LAYERS, exported, inputs_of, source_of

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install openvino")
#: Layers of a compiled model that only arrange constants, or values between two layouts.
ARRANGING = {"Const", "Transpose", "Reorder", "Reshape"}


def compiled(path: Path) -> Any:
    """The file in OpenVINO on the CPU, in float32 whatever the CPU has."""
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return openvino.Core().compile_model(str(path), "CPU", options)


def run_by(model: Any) -> Counter[str]:
    """What a compiled model computes on a run, by kind."""
    kinds = [node.get_rt_info()["layerType"].astype(str) for node in model.get_runtime_model().get_ops()]
    return Counter(kind for kind in kinds if kind not in ARRANGING)


@pytest.mark.parametrize("name", FORMATS)
def test_equals_the_dense_file_and_is_expanded_when_compiled(
    name: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    source, target, report = exported(source_of(name, LAYERS, rng), tmp_path, name)
    assert [row["format"] for row in report.layers] == [name] * len(LAYERS)
    dense, packed = compiled(source), compiled(target)
    assert run_by(packed) == run_by(dense)
    feeds = inputs_of(LAYERS, rng)
    wanted, got = dense(feeds), packed(feeds)
    for place, layer in enumerate(LAYERS):
        assert np.array_equal(got[place], wanted[place]), layer


def test_a_whole_net_equals_its_dense_file(rng: np.random.Generator, tmp_path: Path) -> None:
    source, target, report = exported(residual_net(rng), tmp_path)
    assert sum(row["format"] != "dense" for row in report.layers) == 2
    dense, packed = compiled(source), compiled(target)
    assert run_by(packed) == run_by(dense)
    x = rng.standard_normal((2, 16, 12, 12)).astype(np.float32)
    assert np.array_equal(packed(x)[0], dense(x)[0])


def test_a_chain_of_1_bit_layers_equals_its_dense_file(rng: np.random.Generator, tmp_path: Path) -> None:
    source, target, report = exported(net(rng, CHAINS["norm, pool"][0]), tmp_path, "bitpack")
    assert [row["format"] for row in report.layers if row["role"] == "weight"] == ["bitpack", "bitpack"]
    dense, packed = compiled(source), compiled(target)
    assert run_by(packed) == run_by(dense)
    x = rng.standard_normal((2, 16, 12, 12)).astype(np.float32)
    assert np.array_equal(packed(x)[0], dense(x)[0])
