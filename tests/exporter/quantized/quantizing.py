"""Float models quantized by onnxruntime's own quantizer, calibrated with random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.batches: Iterator[Any] = iter(
            [{"X": rng.standard_normal(shape).astype(np.float32)} for _ in range(3)]
        )

    def get_next(self) -> Any:
        return next(self.batches, None)


def quantized(
    model: onnx.ModelProto,
    folder: Path,
    rng: np.random.Generator,
    shape: tuple[int, ...],
    *,
    activations: str = "QUInt8",
    weights: str = "QInt8",
    **options: Any,
) -> Path:
    """The file of the model quantized statically; `options` are those of `quantize_static`.

    Parameters
    ----------
    shape
        Of the input "X".
    activations, weights
        Names of `QuantType`.
    """
    onnx.save(model, folder / "float.onnx")
    quant_pre_process(str(folder / "float.onnx"), str(folder / "folded.onnx"), skip_symbolic_shape=True)
    options = {"per_channel": True} | options
    quantization.quantize_static(
        str(folder / "folded.onnx"),
        str(folder / "net.onnx"),
        _Reader(rng, shape),
        activation_type=quantization.QuantType[activations],
        weight_type=quantization.QuantType[weights],
        **options,
    )
    return folder / "net.onnx"
