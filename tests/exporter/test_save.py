"""Models with an aligned data file beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from sparse_export.errors import VerificationError
from sparse_export.exporter.files.onnx_write import ALIGNMENT, save

from ..onnx_models import residual_net


def output(path: Path, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path)).run(None, {"X": x})[0]


def test_external_data_is_aligned_and_computes_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    made = residual_net(rng)
    x = rng.standard_normal((1, 16, 12, 12)).astype(np.float32)
    (inline,) = save(made, tmp_path / "inline.onnx")
    model, data = save(made, tmp_path / "out.onnx", external_data=True)
    assert output(model, x).tobytes() == output(inline, x).tobytes()
    entries = [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(str(model), load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    assert len(entries) == 3 and all(entry["location"] == data.name for entry in entries)
    assert all(int(entry["offset"]) % ALIGNMENT == 0 for entry in entries)


def test_overwriting_replaces_the_pair(tmp_path: Path, rng: np.random.Generator) -> None:
    save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    files = save(residual_net(rng), tmp_path / "out.onnx", external_data=True, force=True)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_failed_check_leaves_the_old_pair(tmp_path: Path, rng: np.random.Generator) -> None:
    files = save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    before = [path.read_bytes() for path in files]

    def refuse(path: Path) -> None:
        onnxruntime.InferenceSession(str(path))  # the new pair loads under its temporary name
        raise VerificationError("differs")

    with pytest.raises(VerificationError):
        save(residual_net(rng), tmp_path / "out.onnx", external_data=True, force=True, check=refuse)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert [path.read_bytes() for path in files] == before
