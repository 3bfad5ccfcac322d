"""The choice among formats: exact, never bigger than dense."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from sparse_export import formats
from sparse_export.formats import TensorStats, choose
from sparse_export.formats.parts import choice


def pick(array: np.ndarray) -> formats.Choice:
    return choose(TensorStats(array), formats.all_formats())


def random(rng: np.random.Generator, density: float, shape=(64, 64, 3, 3)) -> np.ndarray:
    weight = rng.standard_normal(shape).astype(np.float32)
    weight[rng.random(shape) >= density] = 0
    return weight


def test_doctest() -> None:
    assert doctest.testmod(choice).failed == 0


@pytest.mark.parametrize(
    ("density", "chosen"), [(0.01, "split"), (0.1, "split"), (0.5, "split"), (0.9, "bitmask"), (1.0, "dense")]
)
def test_unstructured_weights_get_split_then_bitmask_then_dense(rng, density: float, chosen: str) -> None:
    assert pick(random(rng, density)).chosen == chosen


def test_structured_weights_get_their_own_format(rng) -> None:
    signs = rng.choice(np.array([-0.1, 0.1], np.float32), (32, 288))
    assert pick(signs).chosen == "bitpack"
    half = np.where(rng.random(signs.shape) < 0.5, signs, np.float32(0))
    assert pick(half).chosen == "signmask"
    alphas = np.linspace(0.5, 1.5, 32, dtype=np.float32)[:, None]
    for density, chosen in ((0.8, "ternary"), (0.5, "signmask"), (0.05, "signgaps")):
        kept = np.where(rng.random(signs.shape) < density, signs * alphas, np.float32(0))
        assert pick(kept).chosen == chosen
    five = rng.choice(np.arange(1, 6, dtype=np.float32), signs.shape)
    assert pick(np.where(rng.random(signs.shape) < 0.05, five, np.float32(0))).chosen == "palette"
    assert pick(rng.integers(0, 16, (32, 288)).astype(np.float32)).chosen == "codebook"
    two_of_four = rng.standard_normal((32, 288)).astype(np.float32)
    order = np.argsort(rng.random((32, 72, 4)), axis=2).reshape(32, 288)
    two_of_four[order < 2] = 0
    assert pick(two_of_four.astype(np.float16)).chosen == "nm"
    blocks = np.repeat(random(rng, 0.1, (16, 288)), 4, axis=0) + 0
    blocks *= rng.uniform(1, 2, blocks.shape).astype(np.float32)
    assert pick(blocks.astype(np.float16)).chosen == "bsr"


def test_sizes_are_exact_and_never_over_dense(rng) -> None:
    for density in (0.0, 0.03, 0.2, 0.8, 1.0):
        weight = random(rng, density, (7, 5, 3, 3))
        choice = pick(weight)
        assert choice.nbytes == formats.get(choice.chosen).pack(weight).nbytes == min(choice.sizes.values())
        assert choice.nbytes <= weight.nbytes
        assert list(choice.sizes.values()) == sorted(choice.sizes.values())


def test_says_what_is_next_best_and_why(rng) -> None:
    tenth = np.zeros((10, 64), np.float32)
    tenth[3] = rng.standard_normal(64)
    choice = pick(tenth)
    assert choice.runner_up == list(choice.sizes)[1]
    assert choice.reason == f"{2560 / choice.nbytes:.1f}x smaller at density 10.0%"
    choice = choose(TensorStats(random(rng, 1.0)), [formats.get("csr")])
    assert (choice.chosen, choice.runner_up) == ("dense", "csr")
    assert choice.reason == f"density 100.0%: csr would take {choice.sizes['csr']:,} B"
    choice = choose(TensorStats(random(rng, 0.1)), [formats.get("ternary")])
    assert (choice.runner_up, choice.reason) == (None, "ternary cannot hold it")
    assert pick(np.zeros((8, 64), np.float32)).reason == "nothing to store at density 0.0%"


def test_what_packing_costs_beside_the_components_can_keep_a_tensor_dense(rng) -> None:
    stats, csr = TensorStats(random(rng, 0.1)), formats.get("csr")
    gain = stats.nbytes - csr.nbytes(stats)
    assert choose(stats, [csr], overhead=gain - 1).chosen == "csr"
    assert choose(stats, [csr], overhead=gain).chosen == "dense"
    assert choose(stats, [csr], dense_bytes=stats.nbytes + 1, overhead=gain).chosen == "csr"
