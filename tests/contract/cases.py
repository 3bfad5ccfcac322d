"""What the contract suite runs on: arrays of every shape class, and hypothesis strategies for more."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis.strategies as st
import ml_dtypes
import numpy as np

from sparse_export.formats.base import Array, as_bits

SHAPES: dict[str, tuple[int, ...]] = {
    "scalar": (),
    "empty": (0,),
    "no-rows": (0, 4),
    "no-columns": (4, 0),
    "one": (1,),
    "vector": (37,),
    "one-row": (1, 61),
    "one-column": (61, 1),
    "matrix": (12, 35),
    "conv1d": (6, 5, 3),
    "conv2d": (8, 6, 3, 3),
    "conv3d": (3, 2, 2, 3, 1),
    "long-row": (2, 1300),
    "rank-8": (2, 1, 3, 1, 2, 1, 2, 2),
}
DTYPES = tuple(
    np.dtype(name) for name in (np.float32, np.float16, np.float64, ml_dtypes.bfloat16, np.int8, np.int64)
)
DENSITIES = (0.0, 0.01, 0.1, 0.5, 1.0)
#: Bit patterns a careless codec loses, as float32: -0.0, quiet and signalling NaN payloads, denormals, inf.
SPECIAL_BITS = (0x80000000, 0x7FC00001, 0xFFA00002, 0x7F800001, 1, 0x807FFFFF, 0x7F800000, 0xFF800000)


def same_bits(one: Array, other: Array) -> bool:
    """Same shape, dtype and bits."""
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and bool(np.array_equal(as_bits(one), as_bits(other)))
    )


def random_bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, density: float) -> Array:
    """Uniformly random bit patterns at that density; the rest is zero."""
    bits = rng.integers(1, 1 << min(63, dtype.itemsize * 8), size=shape, dtype=np.int64)
    array = np.where(rng.random(shape) < density, bits, 0).astype(f"u{dtype.itemsize}")
    return array.reshape(shape).view(dtype)


def structured(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[Array]:
    """Arrays that the formats for few values, blocks and N:M patterns apply to."""
    rows = (shape[0], *[1] * (len(shape) - 1)) if shape else ()
    alphas = np.exp2(rng.integers(-3, 4, rows)).astype(dtype)
    signs = rng.choice(np.array([-1, 1]), shape).astype(dtype)
    binary = np.asarray(signs * alphas, dtype)
    yield binary
    yield signs
    yield np.where(rng.random(shape) < 0.5, binary, np.zeros((), dtype))
    yield np.where(rng.random(shape) < 0.9, np.zeros((), dtype), signs)
    if len(shape) >= 2:
        two = np.zeros(shape, dtype)
        two[:, ::2] = random_bits(rng, two[:, ::2].shape, dtype, 0.9)
        yield two
        blocks = np.zeros(shape, dtype)
        blocks[: shape[0] // 2] = random_bits(rng, blocks[: shape[0] // 2].shape, dtype, 1.0)
        yield blocks


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Arrays of all kinds: any rank, odd sizes, every density, special values, few values, structure."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=0, max_size=4)))
    if draw(st.integers(0, 9)) == 0:
        shape = (draw(st.integers(1, 3)), draw(st.integers(200, 1500)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["random", "special", "structured", "few"]))
    density = draw(st.sampled_from([0.0, 0.003, 0.05, 0.3, 0.9, 1.0]))
    if kind == "structured" and dtype.kind in "fV":
        return draw(st.sampled_from(list(structured(rng, shape, dtype))))
    if kind == "few":
        table = random_bits(rng, (draw(st.sampled_from([1, 2, 3, 16, 17, 255, 256])),), dtype, 1.0)
        picked = table[rng.integers(0, table.size, shape)]
        return np.where(rng.random(shape) < density, picked, np.zeros((), dtype)).reshape(shape)
    array = random_bits(rng, shape, dtype, density)
    if kind == "special" and array.size:
        width = dtype.itemsize * 8
        patterns = np.array([(bits << 32) >> (64 - width) for bits in SPECIAL_BITS], np.uint64)
        bits = as_bits(array).copy().reshape(-1)
        where = rng.integers(0, bits.size, size=max(1, bits.size // 4))
        bits[where] = rng.choice(patterns, where.size).astype(bits.dtype)
        array = bits.view(dtype).reshape(shape)
    return array
