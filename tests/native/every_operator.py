"""Runs every operator of the library on the target that SPARSE_EXPORT_TARGET names; prints one JSON object.

Operator name -> what was wrong, or an empty string. A target is chosen once per process, so the test starts
this program once for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from sparse_export.runtime.session import InferenceSession

from .layers import Layer, pool_case, shapes_of
from .pools import bytes_pooled
from .quantized import QuantizedLayer
from .tables import OPERATORS, Operator


def failure(operator: Operator) -> str:
    """What the operator gets wrong, or an empty string; both with one thread and with two."""
    rng = np.random.default_rng(7)
    if operator.name == "QMaxPool":
        return next((wrong for _ in range(50) if (wrong := bytes_pooled(rng))), "")
    if operator.layer == "MaxPool":
        model, x, expected = pool_case(rng)
        y = InferenceSession(model).run(None, {"x": x})[0]
        return "" if np.array_equal(y, expected) else "packed signs differ"
    layers: Iterator[Layer | QuantizedLayer] = (Layer(operator, shape, rng) for shape in shapes_of(operator))
    if operator.integers:
        layers = (
            QuantizedLayer(operator, shape, rng, i % 2 == 1) for i, shape in enumerate(shapes_of(operator))
        )
    for number, layer in enumerate(layers):
        shape = layer.shape
        # Sessions of two threads are slow where both share a core; the quantized kernels share their cutting.
        alone = operator.integers and number % 4 != 3
        for threads in (1,) if alone else (1, 2):
            y = InferenceSession(layer.model(), threads=threads).run(None, layer.feeds)[0]
            if y.shape != layer.expected.shape:
                return f"{shape}: shape {y.shape}, not {layer.expected.shape}"
            if operator.integers and y.dtype != layer.expected.dtype:
                return f"{shape}: type {y.dtype}, not {layer.expected.dtype}"
            # Every number of the float layers and every sum is exact in float32.
            if not np.array_equal(y, layer.expected):
                wrong = int(np.count_nonzero(y != layer.expected))
                return f"{shape}, {threads} threads: {wrong} of {y.size} outputs differ"
    return ""


def main() -> None:
    found = {}
    for operator in OPERATORS:
        try:
            found[operator.name] = failure(operator)
        except Exception as error:
            found[operator.name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
