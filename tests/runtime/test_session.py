"""Finding and registering the library, and what a session with it offers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from sparse_export.errors import InputError, MissingDependencyError
from sparse_export.runtime import session as runtime

from .builder import Case, sparse_weight

HERE = Path(__file__).parent


def small_case(suffix: str = "") -> Case:
    return Case(sparse_weight(np.random.default_rng(0), (8, 4, 3, 3), 0.2), suffix, pads=(1, 1, 1, 1))


def test_importing_the_module_does_not_import_onnxruntime() -> None:
    code = "import sys, sparse_export.runtime.session; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_variable_names_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = Path(shutil.copy(runtime.library_path(), tmp_path / "other.so"))
    monkeypatch.setenv(runtime.LIBRARY_VARIABLE, str(other))
    assert runtime.library_path() == other.resolve()


def test_a_wrong_variable_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.LIBRARY_VARIABLE, "/nowhere/lib.so")
    with pytest.raises(MissingDependencyError, match="SPARSE_EXPORT_LIBRARY=/nowhere/lib"):
        runtime.library_path()


def test_a_library_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("not a library")
    monkeypatch.setenv(runtime.LIBRARY_VARIABLE, str(tmp_path / "text.so"))
    with pytest.raises(MissingDependencyError, match="cannot load"):
        runtime.register(onnxruntime.SessionOptions())


def test_a_missing_model_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no such file"):
        runtime.InferenceSession("/nowhere/model.onnx")


def test_register_changes_and_returns_the_options() -> None:
    options = onnxruntime.SessionOptions()
    assert runtime.register(options) is options
    onnxruntime.InferenceSession(small_case().model().SerializeToString(), options)


def test_session_runs_from_a_path_and_from_bytes(tmp_path: Path) -> None:
    model = small_case("Relu").model().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 6)).astype(np.float32)
    outputs = [runtime.InferenceSession(source, threads=2).run(None, {"x": x})[0] for source in (path, model)]
    assert np.array_equal(*outputs)
    assert runtime.InferenceSession(path).get_inputs()[0].name == "x"


def test_output_shape_is_inferred_from_a_fixed_input() -> None:
    model = small_case().model()
    shape = model.graph.input[0].type.tensor_type.shape
    shape.dim.add(dim_param="batch")
    for size in (4, 6, 7):
        shape.dim.add(dim_value=size)
    assert runtime.InferenceSession(model.SerializeToString()).get_outputs()[0].shape == ["batch", 8, 6, 7]


def test_only_the_entry_points_are_exported() -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    command = ["nm", "-D", "--defined-only", str(runtime.library_path())]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in listed.splitlines() if line.split()[-2] in "TDBR"}
    said = {"SparseExportExpand", "SparseExportTables", "SparseExportTarget"}
    selection = {"SparseExportExtend", "SparseExportRelease", "SparseExportSelect"}
    assert names == {"RegisterCustomOps"} | said | selection


def test_runs_on_the_oldest_onnxruntime() -> None:
    folder = os.environ.get("SPARSE_EXPORT_OLD_ORT")
    if not folder:
        pytest.skip(
            "SPARSE_EXPORT_OLD_ORT does not name a folder with onnxruntime 1.20 (pip install --target)"
        )
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    variables = {"PYTHONPATH": path, "SPARSE_EXPORT_LIBRARY": str(runtime.library_path())}
    alone = [str(HERE / f"test_{name}.py") for name in ("drop_in", "accelerators", "choice")]
    for program in (
        [str(HERE / "random_layers.py"), "--cases", "40", "--expect-onnxruntime", "1.20"],
        ["-m", "tests.runtime.random_bit_layers", "--cases", "40"],  # its functions in the stock runtime too
        ["-m", "pytest", "-q", *alone],
    ):
        command = [sys.executable, *program]
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
