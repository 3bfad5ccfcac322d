"""The size waterfall: the lab's formula in bytes, entropies that are not called bounds."""

from __future__ import annotations

import doctest
import gzip
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from sparse_export.exporter.archive import entropy, positions
from sparse_export.exporter.report import waterfall
from sparse_export.formats import base


def pruned(rng: np.random.Generator, size: int, kept: int) -> np.ndarray:
    weight = np.zeros(size, np.float32)
    weight[rng.choice(size, kept, replace=False)] = rng.standard_normal(kept) + 3
    return weight.reshape(-1, 8)


def test_doctest() -> None:
    assert doctest.testmod(waterfall).failed == 0


def test_theory_is_bytes_not_bits(rng) -> None:
    weight = pruned(rng, 969_288, 74_151)
    assert waterfall.waterfall([weight]).values == 296_604


def test_vectors_count_as_dense_in_the_theory(rng) -> None:
    found = waterfall.waterfall([pruned(rng, 800, 80), np.zeros(10, np.float32)])
    assert (found.dense, found.values, found.nonzeros) == (3240, 320 + 40, 80)


@pytest.mark.parametrize(
    ("types", "named"), [(["f4"], "32"), (["i1"], "8"), (["f2", "f2"], "16"), (["f4", "i1"], "their")]
)
def test_the_theory_names_the_bits_of_a_value(rng, types: list[str], named: str) -> None:
    arrays = [(pruned(rng, 800, 80) * 40).astype(kind) for kind in types]
    rows = dict(waterfall.waterfall([*arrays, np.zeros(9, np.float32)]).rows())
    assert f"theory: non-zeros x {named} bits" in rows


def test_rows_are_the_steps_that_were_measured(rng) -> None:
    weight = pruned(rng, 8000, 800)
    found = waterfall.waterfall([weight], positions=4000, file=4200, compare=True)
    assert [name for name, _ in found.rows()][:3] == ["dense", "gzip -6 of dense", "zstd -19 of dense"]
    assert found.gzip == pytest.approx(len(gzip.compress(weight.tobytes(), 6)), rel=0.01)
    assert found.over_entropy_percent == pytest.approx(100 * (4200 / found.entropy - 1))
    assert waterfall.waterfall([weight]).over_entropy_percent is None
    assert found.to_json()["file"] == 4200


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5])
def test_coded_positions_are_within_three_percent_of_their_entropy(rng, density: float) -> None:
    where = np.flatnonzero(rng.random(400_000) < density)
    if density > 0.25:
        segment = positions.encode_mask([where], [400_000])
    else:
        segment, _ = positions.encode_gaps([where])
    expected = waterfall.position_bits(where.size, 400_000) / 8
    assert 0.98 * expected < segment.nbytes < 1.03 * expected


def test_compresses_only_when_asked(rng) -> None:
    found = waterfall.waterfall([pruned(rng, 8000, 800)])
    assert found.gzip is None and found.zstd is None


def test_chunks_change_no_figure(rng, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [pruned(rng, 40_000, 4_000), rng.standard_normal((7, 11)), np.zeros((3, 0), np.float16)]
    whole = waterfall.waterfall(weights, compare=True)
    monkeypatch.setattr(base, "CHUNK", 999)
    parts = waterfall.waterfall(weights, compare=True)
    assert (parts.entropy, parts.nonzeros, parts.dense) == (whole.entropy, whole.nonzeros, whole.dense)
    assert parts.gzip == pytest.approx(whole.gzip, rel=0.01)


def test_no_line_calls_the_entropy_a_bound(rng) -> None:
    names = " ".join(name for name, _ in waterfall.waterfall([pruned(rng, 800, 80)], file=1).rows())
    assert "order-0 entropy" in names and "bound" not in names


def test_tensors_are_not_kept(rng) -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def arrays() -> Iterator[np.ndarray]:
        for _ in range(4):
            array = pruned(rng, 8000, 800)
            assert sum(ref() is not None for ref in alive) <= 1
            alive.append(weakref.ref(array))
            yield array
            del array

    waterfall.waterfall(arrays(), compare=True)
    assert len(alive) == 4


def test_entropy_of_trivial_tensors_is_zero() -> None:
    for array in (np.zeros((3, 3), np.float32), np.zeros((0, 4), np.float16), np.ones((5, 5), np.int8)):
        assert waterfall.entropy_of(array).total == 0


def test_streams_come_back_and_noise_stays_raw(rng) -> None:
    noise = rng.integers(0, 256, 200_000).astype(np.uint8)
    skewed = rng.geometric(0.1, 200_000).clip(0, 255).astype(np.uint8)
    for data in (noise, skewed, noise[:0], noise[:1], np.zeros(100_000, np.uint8)):
        stored = entropy.squeeze(data)
        assert len(stored) <= data.size
        assert np.array_equal(entropy.expand(stored, data.size, "test"), data)
    assert len(entropy.squeeze(noise)) == noise.size
    assert len(entropy.squeeze(skewed)) * 8 < 1.02 * entropy.order0_bits(skewed)
