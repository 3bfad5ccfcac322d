"""Random shapes through the 1-bit operators of one target, against numpy and against stock onnxruntime.

Run as ``SPARSE_EXPORT_TARGET=avx2 python -m tests.runtime.binary_campaign --cases 2000``;
`test_binary_kernels.py` runs a few dozen per target, a release runs thousands.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from sparse_export.exporter.verify import session
from sparse_export.runtime.session import InferenceSession

from .binary_builder import BinaryCase, signs
from .builder import Array, Case, check_close
from .campaign import random_conv, random_matmul


def binary(case: Case, rng: np.random.Generator) -> BinaryCase:
    """The same layer with random signs for weights and with scales of either sign."""
    values = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    rows = case.weight.shape[0]
    values["weight"] = signs(rng.standard_normal(case.weight.shape))
    values["scale"] = (rng.uniform(0.25, 2, rows) * rng.choice([-1, 1], rows)).astype(np.float32)
    values["dtype"] = "float32"
    return BinaryCase(**values, xnor=bool(rng.random() < 0.5))


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
    y = InferenceSession(model, threads=threads).run(None, feeds)[0]
    check_close(y, reference, size, case.weight[0].size)
    if case.xnor:
        np.testing.assert_array_equal(y, case.exact(x, feeds.get("z")))
    if y.size:
        stock = session(model, 1).run(None, feeds)[0]
        if case.xnor:
            np.testing.assert_array_equal(y, stock)
        else:
            assert np.abs(y - stock).max() <= 1e-5 * max(np.abs(stock).max(), size.max() / 10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for index in range(arguments.cases):
        rng = np.random.default_rng([arguments.seed, index])
        base, shape = random_matmul(rng) if rng.random() < 0.3 else random_conv(rng)
        case = binary(base, rng)
        try:
            run_case(case, shape, rng, 1 + index % 2)
        except Exception:
            print(f"case {index} of seed {arguments.seed}: xnor {case.xnor}, input {shape}, {case.suffix}")
            print(case.attributes())
            raise
    print(f"{arguments.cases} cases")


if __name__ == "__main__":
    main()
