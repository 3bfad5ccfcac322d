"""The models that the onnx package ships for its backends: each exports right or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import numpy_helper

import sparse_export
from sparse_export.errors import InputError

from .running import stock

DATA = Path(onnx.backend.test.__file__).parent / "data"
#: The "light" nets are whole architectures: one of them stands for all.
MODELS = sorted(path for path in DATA.rglob("*.onnx") if path.parent.name != "light")
MODELS.append(DATA / "light" / "light_squeezenet.onnx")


def name(path: Path) -> str:
    return path.parent.name if path.name == "model.onnx" else path.stem


def shipped_inputs(path: Path, session: Any) -> dict[str, np.ndarray]:
    """The inputs that lie beside the model; sequences and optionals are not read here."""
    feeds = {}
    for place, entry in enumerate(session.get_inputs()):
        tensor = onnx.TensorProto()
        tensor.ParseFromString((path.parent / "test_data_set_0" / f"input_{place}.pb").read_bytes())
        feeds[entry.name] = numpy_helper.to_array(tensor)
    return feeds


@pytest.mark.parametrize("path", MODELS, ids=name)
def test_exports_or_refuses_with_a_reason(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    try:
        original = stock(path)
    except Exception:  # an opset that it never had, or one that it has lost: nothing to compare with
        with pytest.raises(InputError, match="onnxruntime cannot load it"):
            sparse_export.export(path, output=out)
        return
    report = sparse_export.export(path, output=out)
    assert report.verification is not None and report.verification.passed
    written = stock(out)
    assert [entry.name for entry in written.get_outputs()] == [entry.name for entry in original.get_outputs()]
    if not (path.parent / "test_data_set_0").is_dir() or "sequence" in path.parent.name:
        return
    feeds = shipped_inputs(path, original)
    try:
        expected = original.run(None, feeds)
    except Exception:  # its PRelu does not broadcast as these models ask for
        return
    for a, b in zip(written.run(None, feeds), expected, strict=True):
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, 1e-5, 1e-6)
        else:
            np.testing.assert_array_equal(a, b)
