"""What the runtime's own distribution holds works without the rest: numpy and onnxruntime are enough."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sparse_export
from sparse_export.runtime.session import LIBRARY_VARIABLE
from tools import wheels

ROOT = Path(__file__).parents[1]
BLOCKED = ("torch", "onnx", "click", "rich", "scipy", "safetensors", "onnx_ir", "psutil")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the runtime's wheel, and packages that cannot be imported beside them."""
    folder = tmp_path_factory.mktemp("alone")
    for part in wheels.RUNTIME_FILES:
        home = ROOT if part == "runtime" else ROOT / "src" / "sparse_export"
        target = folder / "sparse_export" / part
        if (home / part).is_dir():
            shutil.copytree(home / part, target, ignore=shutil.ignore_patterns("native", "__pycache__"))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(home / part, target)
    shutil.copyfile(sparse_export.library_path(), folder / "sparse_export" / "runtime" / "lib.so")
    for name in BLOCKED:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not on this device')\n")
    return folder


def started(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Python with these files in front, the editable install switched off."""
    start = (
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'scikit' not in type(f).__name__.lower()]\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
    )
    environment = {LIBRARY_VARIABLE: str(folder / "sparse_export" / "runtime" / "lib.so")}
    command = [sys.executable, "-c", start + code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


def python(folder: Path, code: str) -> str:
    """What it prints."""
    done = started(folder, code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_can_be_imported(alone: Path) -> None:
    modules = [path.relative_to(alone) for path in (alone / "sparse_export").rglob("*.py")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in modules]
    assert {"sparse_export.runtime.inference", "sparse_export.errors"} <= set(names)
    for name in names:
        python(alone, f"import {name}")


def test_a_session_runs_the_native_operators(alone: Path) -> None:
    from .runtime.test_session import small_case

    (alone / "model.onnx").write_bytes(small_case("Relu").model().SerializeToString())
    code = (
        "import numpy as np, sparse_export\n"
        "session = sparse_export.InferenceSession('model.onnx')\n"
        "print(session.run(None, {'x': np.ones((1, 4, 5, 5), np.float32)})[0].shape)"
    )
    assert python(alone, code) == "(1, 8, 5, 5)\n"


def test_what_is_missing_names_the_package_to_install(alone: Path) -> None:
    code = (
        "import sparse_export\n"
        "try: sparse_export.export\n"
        "except sparse_export.MissingDependencyError as error: print(error)"
    )
    wanted = "sparse_export.export is not in sparse-export-runtime: pip install sparse-export\n"
    assert python(alone, code) == wanted


def test_star_gives_what_is_there(alone: Path) -> None:
    code = (
        "from sparse_export import *\n"
        "import sparse_export as s\n"
        "print(sorted(s.__all__) == dir(s), *s.__all__)"
    )
    current, *names = python(alone, code).split()
    assert current == "True"
    assert set(sparse_export.__all__) - set(names) == {"export", "inspect", "verify"}


@pytest.mark.parametrize("there", ["nothing", "the command line without click"])
def test_a_command_typed_here_says_what_to_install(alone: Path, tmp_path: Path, there: str) -> None:
    shutil.copytree(alone, tmp_path, dirs_exist_ok=True)
    if there != "nothing":
        shutil.copytree(ROOT / "cli", tmp_path / "sparse_export" / "cli")
    code = "import runpy; runpy.run_module('sparse_export', run_name='__main__', alter_sys=True)"
    done = started(tmp_path, code)
    assert done.returncode == 3
    assert done.stderr.startswith("sparse-export: error: the command line ") and done.stderr.count("\n") == 1
    assert done.stderr.endswith("; try: pip install sparse-export\n")


def test_the_librarys_path_is_printed(alone: Path) -> None:
    code = "import runpy; runpy.run_module('sparse_export.runtime', run_name='__main__')"
    assert python(alone, code).strip().endswith("lib.so")


def test_the_runtimes_needs_are_those_of_the_package() -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(wheels.RUNTIME_NEEDS) <= set(declared)
