"""QMaxPool at random shapes against plain numpy."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sparse_export.runtime.session import InferenceSession

Bytes = NDArray[np.uint8]
#: Windows of kernel and stride, some with a way of their own.
_WINDOWS = [(2, 2), (2, 2), (2, 2), (3, 2), (3, 1), (2, 1), (1, 2), (3, 3), (4, 2), (5, 4)]


def largest(x: Bytes, kernel: list[int], strides: list[int], pads: list[int], up: bool) -> Bytes:
    """MaxPool of ONNX, rounded up or down; a last window must begin in the image or before it."""
    sizes = []
    for axis in range(2):
        room = x.shape[2 + axis] + pads[axis] + pads[2 + axis] - kernel[axis]
        size = -(-room // strides[axis]) + 1 if up else room // strides[axis] + 1
        starts = (size - 1) * strides[axis]
        sizes.append(size - (1 if up and starts >= x.shape[2 + axis] + pads[axis] else 0))
    y = np.zeros((*x.shape[:2], *sizes), np.uint8)
    for h, w in itertools.product(*map(range, sizes)):
        top, left = h * strides[0] - pads[0], w * strides[1] - pads[1]
        window = x[:, :, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]]
        y[:, :, h, w] = window.max(axis=(2, 3))
    return y


def bytes_pooled(rng: np.random.Generator) -> str:
    """What one random pool gets wrong, or an empty string; with one thread and with two."""
    windows = [_WINDOWS[i] for i in rng.integers(0, len(_WINDOWS), 2)]
    if rng.random() < 0.7:
        windows[1] = windows[0]
    kernel, strides = [[int(window[i]) for window in windows] for i in range(2)]
    pads = [int(rng.integers(0, k)) if rng.random() < 0.4 else 0 for k in [*kernel, *kernel]]
    up = bool(rng.random() < 0.5)
    spatial = [
        max(int(rng.choice([1, 2, 3, 7, 8, 14, 16, 28, 33, 56, 112, 140])), k - pads[i] - pads[2 + i])
        for i, k in enumerate(kernel)
    ]
    channels = int(rng.integers(1, 5)) if spatial[0] * spatial[1] > 3000 else int(rng.integers(1, 40))
    x = rng.integers(0, 256, (int(rng.integers(0, 3)), channels, *spatial)).astype(np.uint8)
    window = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": [int(up)]}
    node = helper.make_node("QMaxPool", ["x"], ["y"], domain="sparse_export", **window)
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in ("x", "y")]
    graph = helper.make_graph([node], "one", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("sparse_export", 1)]
    model = bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    expected = largest(x, kernel, strides, pads, up)
    for threads in (1,) if rng.random() < 0.8 else (2,):
        y = InferenceSession(model, threads=threads).run(None, {"x": x})[0]
        if y.shape != expected.shape or not np.array_equal(y, expected):
            return f"{window} of {x.shape}, {threads} threads: {y.shape} or other bytes"
    return ""
