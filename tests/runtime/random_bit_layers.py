"""Random shapes through the 1-bit operators of one target, against numpy and against stock onnxruntime.

Run as ``SPARSE_EXPORT_TARGET=avx2 python -m tests.runtime.random_bit_layers --cases 2000``;
`test_binary_kernels.py` runs a few dozen per target, a release runs thousands.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
from onnx import helper

from sparse_export.runtime.session import InferenceSession
from sparse_export.runtime.stock import Session

from .binary_builder import BinaryCase, pack_signs, pool_model, signs
from .builder import Array, Case, check_close, model_of
from .random_layers import random_conv, random_matmul


def binary(case: Case, rng: np.random.Generator) -> BinaryCase:
    """The same layer with random signs for weights and with scales of either sign."""
    values = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    rows = case.weight.shape[0]
    values["weight"] = signs(rng.standard_normal(case.weight.shape))
    values["scale"] = (rng.uniform(0.25, 2, rows) * rng.choice([-1, 1], rows)).astype(np.float32)
    values["dtype"] = "float32"
    made = BinaryCase(**values, xnor=bool(rng.random() < 0.7))
    if made.xnor and made.weight.ndim in (2, 4):
        made.packed_x = bool(rng.random() < 0.5)
        fits = made.group == 1 or rows // made.group % 8 == 0  # the outputs of a group fill bytes
        made.packed_y = made.suffix == "" and fits and bool(rng.random() < 0.7)
    if made.xnor and rng.random() < 0.3:  # sums that are exactly zero
        made.bias = (made.scale * -rng.integers(-5, 6, rows)).astype(np.float32)
    return made


def run_case(case: BinaryCase, shape: tuple[int, ...], rng: np.random.Generator, threads: int) -> None:
    """Library against numpy (exact for xnor), and stock onnxruntime against the library."""
    x = rng.standard_normal(shape).astype(np.float32)
    x[rng.random(shape) < 0.05] = rng.choice([0.0, -0.0])
    feeds: dict[str, Array] = {"x": x}
    reference, size = case.reference(x)
    if case.has_residual:
        feeds["z"] = rng.standard_normal(reference.shape).astype(np.float32)
        reference, size = case.reference(x, feeds["z"])
    model = case.model(function=True).SerializeToString()
    exact = case.exact(x, feeds.get("z")) if case.xnor else None
    if case.packed_x:
        feeds["x"] = pack_signs(x, not case.is_matmul)
    y = InferenceSession(model, threads=threads).run(None, feeds)[0]
    if not case.packed_y:
        check_close(y, reference, size, case.weight[0].size)
    if exact is not None:
        np.testing.assert_array_equal(y, pack_signs(exact, not case.is_matmul) if case.packed_y else exact)
    if y.size:
        stock = Session(model).run(feeds)[0]
        if case.xnor:
            np.testing.assert_array_equal(y, stock)
        else:
            assert np.abs(y - stock).max() <= 1e-5 * max(np.abs(stock).max(), size.max() / 10)


def run_pool(rng: np.random.Generator, threads: int) -> None:
    """XnorMaxPool of the library and of stock onnxruntime against max pooling of floats."""
    kernel = [int(size) for size in rng.integers(1, 4, 2)]
    pads = [int(rng.integers(0, size)) for size in (*kernel, *kernel)]
    strides = [int(step) for step in rng.integers(1, 4, 2)]
    channels = int(rng.integers(1, 70))
    shape = (int(rng.choice([0, 1, 1, 3])), channels, *(int(s) for s in rng.integers(3, 20, 2)))
    x = rng.standard_normal(shape).astype(np.float32)
    turn = rng.choice([-1, 1], channels).astype(np.float32)[:, None, None]
    window = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    pooled = pool_model(turn.reshape(-1) < 0, window)
    y = InferenceSession(pooled.SerializeToString(), threads=threads).run(None, {"x": pack_signs(x, True)})[0]
    if not x.size:
        assert y.shape[0] == 0 and y.shape[3] == (channels + 7) // 8
        return
    node = helper.make_node("MaxPool", ["x"], ["y"], **window)
    plain = Session(model_of(node, [], ["x"]).SerializeToString())
    np.testing.assert_array_equal(y, pack_signs(turn * plain.run({"x": turn * x})[0], True))
    stock = Session(pooled.SerializeToString()).run({"x": pack_signs(x, True)})[0]
    np.testing.assert_array_equal(y, stock)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for index in range(arguments.cases):
        rng = np.random.default_rng([arguments.seed, index])
        if index % 10 == 9:
            run_pool(rng, 1 + index % 2)
            continue
        base, shape = random_matmul(rng) if rng.random() < 0.3 else random_conv(rng)
        case = binary(base, rng)
        try:
            run_case(case, shape, rng, 1 + index % 2)
        except Exception:
            print(f"case {index} of seed {arguments.seed}: xnor {case.xnor}, input {shape}, {case.suffix}")
            print(f"packed X {case.packed_x}, packed Y {case.packed_y}")
            print(case.attributes())
            raise
    print(f"{arguments.cases} cases")


if __name__ == "__main__":
    main()
