"""Random shapes through the sparse operators of one target, against float64.

Run as ``SPARSE_EXPORT_TARGET=avx2 python tests/runtime/random_layers.py --cases 2000``. `test_kernels.py`
runs a few dozen per target; a release runs thousands.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parent))
from builder import Array, Case, check_close, sparse_weight

from sparse_export.runtime.session import InferenceSession

SUFFIXES = ("", "Relu", "Clip", "Add", "AddRelu", "AddClip")
DTYPES = ("float32", "float32", "float16", "bfloat16", "int8")


def random_conv(rng: np.random.Generator) -> tuple[Case, tuple[int, ...]]:
    """A convolution and an input shape that fits it."""
    rank = int(rng.choice([1, 2, 2, 2]))
    group = int(rng.choice([1, 1, 1, 2, 3]))
    kernel = [int(rng.choice([1, 1, 2, 3, 3, 5, 7])) for _ in range(rank)]
    if rng.random() < 0.3:
        kernel = [1] * rank
    column = rank == 2 and rng.random() < 0.1  # an image of one column
    if column:
        kernel = [int(rng.choice([3, 7, 33])), 1]
    channels = int(rng.integers(1, 40)) if rng.random() < 0.9 else int(rng.integers(100, 300))
    depthwise = rng.random() < 0.08
    group = channels if depthwise else group
    shape = (group * int(rng.integers(1, 24)), 1 if depthwise else channels, *kernel)
    strides = tuple(int(rng.choice([1, 1, 1, 2, 3])) for _ in range(rank))
    dilations = tuple(int(rng.choice([1, 1, 1, 2, 3])) for _ in range(rank))
    pads = tuple(int(rng.integers(0, 4)) for _ in range(2 * rank))
    if rng.random() < 0.3:
        strides, dilations, pads = (1,) * rank, (1,) * rank, (0,) * (2 * rank)
    spatial = [
        max(int(rng.choice([1, 2, 4, 7, 8, 14, 16, 17, 28, 33, 40])), d * (k - 1) + 1)
        for k, d in zip(kernel, dilations, strict=True)
    ]
    if column:
        spatial, pads = (
            [int(rng.choice([40, 100, 129])) + kernel[0] * dilations[0], 1],
            (pads[0], 0, pads[2], pads[3]),
        )
    dtype = str(rng.choice(DTYPES))
    weight = sparse_weight(rng, shape, float(rng.choice([0, 0.02, 0.1, 0.3, 0.9])), dtype)
    case = Case(weight, str(rng.choice(SUFFIXES)), dtype, strides, pads, dilations, group)
    return case, (int(rng.choice([0, 1, 1, 1, 2, 5])), shape[1] * group, *spatial)


def random_matmul(rng: np.random.Generator) -> tuple[Case, tuple[int, ...]]:
    """A matrix product and an input shape of rank 1 to 4."""
    shape = (int(rng.integers(1, 200)), int(rng.integers(1, 600)))
    dtype = str(rng.choice(DTYPES))
    weight = sparse_weight(rng, shape, float(rng.choice([0, 0.002, 0.05, 0.1, 0.5])), dtype)
    lead = [(), (1,), (1, 1), (0,), (3,), (16,), (2, 7), (33,), (1, 300), (2, 3, 5)][int(rng.integers(10))]
    return Case(weight, str(rng.choice(SUFFIXES[:3])), dtype), (*lead, shape[1])


def run_case(case: Case, shape: tuple[int, ...], rng: np.random.Generator, threads: int) -> float:
    """Worst error of one case in units of its bound."""
    x = rng.standard_normal(shape).astype(np.float32)
    feeds: dict[str, Array] = {"x": x}
    reference, size = case.reference(x)
    if case.has_residual:
        feeds["z"] = rng.standard_normal(reference.shape).astype(np.float32)
        reference, size = case.reference(x, feeds["z"])
    y = InferenceSession(case.model().SerializeToString(), threads=threads).run(None, feeds)[0]
    return check_close(y, reference, size, case.weight[0].size)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--expect-onnxruntime", default="", help="fail on any other version")
    parser.add_argument("--only", type=int, help="run just this case")
    arguments = parser.parse_args()
    assert onnxruntime.__version__.startswith(arguments.expect_onnxruntime), onnxruntime.__version__
    worst = 0.0
    for index in range(arguments.cases) if arguments.only is None else [arguments.only]:
        rng = np.random.default_rng([arguments.seed, index])
        case, shape = random_matmul(rng) if rng.random() < 0.25 else random_conv(rng)
        try:
            worst = max(worst, run_case(case, shape, rng, 1 + index % 2))
        except Exception:
            print(f"case {index} of seed {arguments.seed}: input {shape}, {case.suffix} {case.attributes()}")
            raise
    print(f"{arguments.cases} cases, worst error {worst:.3f} of its bound")


if __name__ == "__main__":
    main()
