"""Models written once, with every operator in them: the committed outputs, in every onnxruntime, for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from sparse_export import formats
from sparse_export.runtime import stock
from sparse_export.runtime.session import library_path

HERE = Path(__file__).parent / "onnx"
FILES = sorted(HERE.glob("*.onnx"))


def operators(path: Path) -> set[str]:
    """The packed operators that a model runs."""
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("registered", [False, True], ids=["stock", "library"])
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_golden_model_gives_the_committed_outputs(path: Path, registered: bool) -> None:
    tensors = load_file(path.with_suffix(".safetensors"))
    session = stock.Session(path, threads=1, registered=registered)
    outputs = session.run({spec.name: tensors[spec.name] for spec in session.inputs})
    for (name, _, _), output in zip(session.outputs, outputs, strict=True):
        assert output.dtype == tensors[name].dtype, name
        # Every number and every sum is exact in float32.
        assert np.array_equal(output, tensors[name]), name


def test_golden_models_have_every_layer_of_every_format() -> None:
    found = set().union(*map(operators, FILES))
    for fmt in formats.all_formats():
        if fmt.operator is not None:
            suffixes = ("ConvAddClip", "ConvRelu", "Conv", "MatMul", "MatMulClip")
            assert {f"{fmt.operator}{suffix}" for suffix in suffixes} <= found
    for name in ("csr", "tight", "bsr", "bitmask", "nm", "codebook", "palette"):
        suffixes = ("QConv", "QConvAdd", "QConvFloat", "QMatMul", "QMatMulFloat")
        assert {f"{formats.get(name).operator}{suffix}" for suffix in suffixes} <= found


def test_golden_models_run_alike_on_the_oldest_onnxruntime() -> None:
    folder = os.environ.get("SPARSE_EXPORT_OLD_ORT")
    if not folder:
        pytest.skip("SPARSE_EXPORT_OLD_ORT does not name a folder with onnxruntime 1.20: run make compat")
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    variables = {"PYTHONPATH": path, "SPARSE_EXPORT_LIBRARY": str(library_path())}
    version = [sys.executable, "-c", "import onnxruntime; print(onnxruntime.__version__)"]
    told = subprocess.run(version, env=os.environ | variables, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("1.20")
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", "committed"]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{2 * len(FILES)} passed" in done.stdout
