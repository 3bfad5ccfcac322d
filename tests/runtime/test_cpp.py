"""The C++ program of the README, compiled and run against the library of the installed onnxruntime."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import sparse_export

HERE = Path(__file__).parent / "cpp"
COMPILER = shutil.which("g++") or shutil.which("clang++")


def library() -> Path | None:
    """The shared library of onnxruntime in its Python package, where that has one."""
    return next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"), None)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled example."""
    found = library()
    if COMPILER is None or found is None:
        pytest.skip("no C++ compiler, or no onnxruntime library to link with")
    built = tmp_path_factory.mktemp("cpp") / "load_model"
    flags = [
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{HERE / 'include'}",
        f"-Wl,-rpath,{found.parent}",
    ]
    # The library is found at run time by the name it gives itself, which its file may not have.
    soname = re.search(rb"libonnxruntime\.so\.[0-9]+", found.read_bytes())
    assert soname
    link = built.parent / soname.group().decode()
    link.symlink_to(found)
    flags.append(f"-Wl,-rpath,{built.parent}")
    subprocess.run([COMPILER, *flags, str(HERE / "load_model.cpp"), str(link), "-o", str(built)], check=True)
    return built


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed model of 224 x 224 images, as the program expects them; its output for zeros is not zero."""
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((16, 3, 8, 8)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.9] = 0
    bias = rng.standard_normal(16).astype(np.float32)
    node = helper.make_node("Conv", ["input", "w", "b"], ["output"], strides=[8, 8], name="conv")
    shapes = {"input": [1, 3, 224, 224], "output": [1, 16, 28, 28]}
    infos = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        folder / "dense.onnx",
    )
    sparse_export.export(
        folder / "dense.onnx", format="csr", optimize="memory", output=folder / "packed.onnx"
    )
    return folder / "packed.onnx"


def test_the_program_runs_a_packed_file(program: Path, packed: Path) -> None:
    command = [program, packed, sparse_export.library_path()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    zeros = np.zeros((1, 3, 224, 224), np.float32)
    wanted = sparse_export.InferenceSession(packed).run(None, {"input": zeros})[0].flat[0]
    assert wanted != 0
    assert float(done.stdout) == pytest.approx(wanted, abs=1e-6)


def test_the_program_needs_the_library_for_a_file_without_functions(program: Path, packed: Path) -> None:
    model = onnx.load(packed)
    del model.functions[:]
    bare = packed.with_name("bare.onnx")
    onnx.save(model, bare)
    command = [program, bare, sparse_export.library_path()]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert subprocess.run([program, bare, "/nowhere.so"], capture_output=True).returncode != 0
