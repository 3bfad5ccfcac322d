"""Every target this CPU has computes what numpy and stock onnxruntime compute, on random shapes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparse_export.runtime.session import InferenceSession, library_path

from ..native.tables import TARGETS
from .binary_builder import BinaryCase, signs

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", TARGETS)
def test_target_agrees_with_numpy_and_stock_onnxruntime(target: str) -> None:
    variables = {"SPARSE_EXPORT_TARGET": target, "SPARSE_EXPORT_LIBRARY": str(library_path())}
    command = [sys.executable, "-m", "tests.runtime.random_bit_layers", "--cases", "40", "--seed", "5"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=240
    )
    if "this CPU lacks it" in done.stderr:
        pytest.skip(f"this CPU has no {target}")
    assert done.returncode == 0, done.stdout + done.stderr


def run(case: BinaryCase, x: np.ndarray) -> np.ndarray:
    result: np.ndarray = InferenceSession(case.model().SerializeToString()).run(None, {"x": x})[0]
    return result


def test_zero_and_negative_zero_are_plus_one_and_nan_is_minus_one() -> None:
    case = BinaryCase(
        np.ones((1, 1), np.float32), xnor=True, scale=np.ones(1, np.float32), bias=np.zeros(1, np.float32)
    )
    x = np.array([[0.0], [-0.0], [np.nan], [1e-45], [-1e-45], [np.inf], [-np.inf]], np.float32)
    assert run(case, x)[:, 0].tolist() == [1, 1, -1, 1, -1, 1, -1]


def test_padding_adds_nothing_to_an_xnor_convolution() -> None:
    case = BinaryCase(np.ones((1, 1, 3, 3), np.float32), pads=(1, 1, 1, 1), xnor=True)
    case.scale, case.bias = np.ones(1, np.float32), np.zeros(1, np.float32)
    y = run(case, np.ones((1, 1, 3, 3), np.float32))
    assert y[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


@pytest.mark.parametrize("xnor", [False, True])
@pytest.mark.parametrize(("channels", "size", "outputs"), [(64, 28, 96), (512, 2, 512), (130, 15, 70)])
def test_larger_layers_agree(
    rng: np.random.Generator, channels: int, size: int, outputs: int, xnor: bool
) -> None:
    case = BinaryCase(signs(rng.standard_normal((outputs, channels, 3, 3))), pads=(1, 1, 1, 1), xnor=xnor)
    x = rng.standard_normal((2, channels, size, size)).astype(np.float32)
    y, reference = run(case, x), case.reference(x)[0]
    assert np.abs(y - reference).max() < 1e-5 * np.abs(reference).max()
    if xnor:
        np.testing.assert_array_equal(y, case.exact(x))


@pytest.mark.parametrize("xnor", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 64, 129])
def test_larger_products_agree(rng: np.random.Generator, rows: int, xnor: bool) -> None:
    case = BinaryCase(signs(rng.standard_normal((1030, 2085))), xnor=xnor)
    x = rng.standard_normal((rows, 2085)).astype(np.float32)
    y, reference = run(case, x), case.reference(x)[0]
    assert np.abs(y - reference).max() < 1e-5 * np.abs(reference).max()


def test_threads_change_nothing(rng: np.random.Generator) -> None:
    case = BinaryCase(signs(rng.standard_normal((256, 64, 3, 3))), pads=(1, 1, 1, 1))
    x = rng.standard_normal((1, 64, 40, 40)).astype(np.float32)
    model = case.model().SerializeToString()
    one, two = (InferenceSession(model, threads=t).run(None, {"x": x})[0] for t in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_an_infinite_activation_stays_where_it_is(rng: np.random.Generator) -> None:
    case = BinaryCase(signs(rng.standard_normal((20, 33))))
    x = rng.standard_normal((5, 33)).astype(np.float32)
    x[2, 7] = np.inf
    y = run(case, x)
    assert np.isinf(y[2]).all() and np.isfinite(np.delete(y, 2, 0)).all()
