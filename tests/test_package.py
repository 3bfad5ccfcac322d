"""The package as a whole: its public names, its pages, its rules."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import sparse_export
from sparse_export.cli import COMMANDS

ROOT = Path(__file__).parents[1]


def test_public_names_are_these() -> None:
    assert sorted(sparse_export.__all__) == [
        "BudgetError",
        "CorruptFileError",
        "InferenceSession",
        "InputError",
        "MissingDependencyError",
        "SparseExportError",
        "UnsupportedError",
        "VerificationError",
        "__version__",
        "export",
        "inspect",
        "library_path",
        "register",
        "verify",
    ]
    assert all(hasattr(sparse_export, name) for name in sparse_export.__all__)


def test_import_is_light() -> None:
    code = "import sys, sparse_export; print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_derived_files_are_current() -> None:
    command = [sys.executable, "-m", "tools.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_names_every_command_that_exists_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"sparse-export ([a-z][a-z-]+)(?![\w.])", readme))
    assert named - {"export"} <= set(COMMANDS), named - set(COMMANDS)
    assert set(COMMANDS) - named == set(), set(COMMANDS) - named


def test_every_error_has_a_documented_exit_code() -> None:
    errors = [getattr(sparse_export, name) for name in sparse_export.__all__ if name.endswith("Error")]
    assert {error.exit_code for error in errors} == {1, 2, 3, 70}


def test_readme_shows_the_cpp_program_that_is_compiled() -> None:
    snippet = (ROOT / "README.md").read_text().partition("```cpp\n")[2].partition("```")[0]
    program = (ROOT / "tests" / "runtime" / "cpp" / "load_model.cpp").read_text()
    lines = [line.partition("  //")[0].strip() for line in snippet.splitlines()]
    assert len(lines) == 3 and all(line in program for line in lines)
