"""Each file of a release in a fresh environment: `python -m tools.wheel_smoke [--full] [dist]`.

The runtime's wheel with the oldest and the newest onnxruntime on every Python that is here, that for aarch64
in an aarch64 onnxruntime under qemu, the source archive compiled anew, and with ``--full`` the package with
everything it needs (torch among it: gigabytes).
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

import sparse_export
from sparse_export.runtime.stock import Session
from tools import wheel_aarch64

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
RUNTIMES = ("onnxruntime==1.20.1", "onnxruntime")

#: Run in the fresh environment; arguments: the model, the arrays, whether the exporter is to be missing.
CHECK = """
import importlib.util, json, pathlib, sys
import numpy as np, onnxruntime, sparse_export
model, arrays, alone = sys.argv[1], np.load(sys.argv[2]), sys.argv[3] == "alone"
options = onnxruntime.SessionOptions()
options.enable_profiling, options.profile_file_prefix = True, sys.argv[2]
session = sparse_export.InferenceSession(model, options, packed="all")  # whatever the layer costs
(y,) = session.run(None, {"x": arrays["x"]})
np.testing.assert_allclose(y, arrays["y"], rtol=1e-4, atol=1e-4)
events = json.loads(pathlib.Path(session.end_profiling()).read_text())
assert "SparseMatMul" in {e.get("args", {}).get("op_name") for e in events}, "not the native operator"
library = sparse_export.library_path()
assert library.is_relative_to(pathlib.Path(sys.prefix).resolve()), library
if alone:
    assert not any(importlib.util.find_spec(name) for name in ("torch", "onnx", "click"))
    try:
        sparse_export.export
    except sparse_export.MissingDependencyError as error:
        assert "pip install sparse-export" in str(error), error
    else:
        raise AssertionError("exporting without the exporter")
print("runs with onnxruntime", onnxruntime.__version__, "on Python", sys.version.split()[0])
"""


def run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env=env, cwd="/")
    if done.returncode != 0:
        raise SystemExit(f"{words[0]} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def model(folder: Path) -> tuple[Path, Path]:
    """A packed file, and an input with its output."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((64, 32), np.float32)
    weight[rng.random(weight.shape) < 0.9] = 0
    infos = [helper.make_tensor_value_info(n, 1, ["N", d]) for n, d in (("x", 64), ("y", 32))]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], [numpy_helper.from_array(weight, "w")])
    dense, packed, arrays = (folder / name for name in ("dense.onnx", "packed.onnx", "arrays.npz"))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), dense)
    sparse_export.export(dense, format="csr", optimize="memory", output=packed)
    x = rng.standard_normal((3, 64), np.float32)
    np.savez(arrays, x=x, y=Session(dense).run({"x": x})[0])
    return packed, arrays


def image_model(folder: Path) -> tuple[Path, float]:
    """A packed convolution without its functions, as the README's C++ program takes it; its first output."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((16, 3, 8, 8), np.float32)
    weight[rng.random(weight.shape) < 0.9] = 0
    bias = rng.standard_normal(16, np.float32)
    node = helper.make_node("Conv", ["input", "w", "b"], ["output"], strides=[8, 8], name="conv")
    shapes = {"input": [1, 3, 224, 224], "output": [1, 16, 28, 28]}
    infos = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], constants)
    dense, packed = folder / "image.onnx", folder / "packed-image.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), dense)
    sparse_export.export(dense, format="csr", optimize="memory", output=packed)
    bare = onnx.load(packed)
    del bare.functions[:]
    onnx.save(bare, packed)
    y = Session(dense).run({"input": np.zeros(shapes["input"], np.float32)})[0]
    return packed, float(y.flat[0])


def pythons() -> list[Path]:
    """One interpreter of each version that is here: on the path, or in pyenv's folder."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = []
    for version in PYTHONS:
        on_path = shutil.which(f"python{version}")
        known = [*([Path(on_path)] if on_path else []), *sorted(home.glob(f"{version}.*/bin/python"))]
        works = (p for p in known if subprocess.run([p, "--version"], capture_output=True).returncode == 0)
        found += list(works)[:1]
    return found


def fresh(python: str | Path, folder: Path, packages: Sequence[str | Path]) -> Path:
    """The folder of programs of a new environment with these packages."""
    run(python, "-m", "venv", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, *packages)
    return folder / "bin"


def check(programs: Path, files: tuple[Path, Path], alone: bool) -> None:
    """Run the packed file in an environment, away from this tree."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "SPARSE_EXPORT_LIBRARY"}}
    print(run(programs / "python", "-c", CHECK, *files, "alone" if alone else "whole", env=env))
    module = (programs / "python", "-m", "sparse_export.runtime")
    command = (programs / "sparse-export-ops-path",) if alone else module
    assert Path(run(*command, env=env)).is_file()


def main() -> int:
    """Test every file; the first that does not work ends it."""
    parser = argparse.ArgumentParser(description="Each file of a release in a fresh environment.")
    parser.add_argument("dist", type=Path, nargs="?", default=ROOT / "dist")
    parser.add_argument("--full", action="store_true", help="install the package with all it needs too")
    given = parser.parse_args()
    patterns = ("*_runtime-*x86_64.whl", "*_runtime-*aarch64.whl", "sparse_export-*.whl", "*.tar.gz")
    ((runtime,), (aarch64,), (package,), (source,)) = (list(given.dist.resolve().glob(p)) for p in patterns)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = model(folder)
        for number, (python, wanted) in enumerate(itertools.product(pythons(), RUNTIMES)):
            print(f"{runtime.name}:", flush=True)
            check(fresh(python, folder / f"runtime-{number}", [runtime, wanted]), files, alone=True)
        print(f"{aarch64.name}:", flush=True)
        if lacks := wheel_aarch64.missing():
            print(f"not tried: no {lacks} here")
        else:
            wheel_aarch64.smoke(aarch64, *image_model(folder))
        print(f"{source.name}, compiled:", flush=True)
        programs = fresh(sys.executable, folder / "source", ["numpy", "onnxruntime"])
        run(programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", source)
        check(programs, files, alone=False)
        if given.full:
            print(f"{package.name}:", flush=True)
            pins = (line for line in (ROOT / "constraints.txt").read_text().splitlines())
            torch = next(line for line in pins if line.startswith("torch=="))
            programs = fresh(sys.executable, folder / "full", [runtime, package, torch])
            check(programs, files, alone=False)
            out = folder / "again.onnx"
            run(programs / "sparse-export", folder / "dense.onnx", "--format", "csr", "-o", out)
            assert out.is_file()
    return 0


if __name__ == "__main__":
    sys.exit(main())
