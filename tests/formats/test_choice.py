"""The choice among formats: exact, never bigger than dense."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from sparse_export import formats
from sparse_export.errors import InputError
from sparse_export.formats import TensorStats, choice, choose


def pick(array: np.ndarray, optimize: str = "size") -> formats.Choice:
    return choose(TensorStats(array), formats.all_formats(), optimize)


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


def test_speed_takes_a_format_with_a_kernel_if_it_costs_little(rng) -> None:
    weight = random(rng, 0.13)
    size, speed = pick(weight), pick(weight, "speed")
    assert size.chosen == "split" and size.sizes["csr"] <= 1.35 * size.nbytes
    assert speed.chosen == "csr"
    assert pick(random(rng, 0.9), "speed").chosen == "bitmask"


def test_rejects_an_unknown_goal(rng) -> None:
    with pytest.raises(InputError, match="size"):
        pick(random(rng, 0.1), "beauty")
