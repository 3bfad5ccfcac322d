"""The house: modules are rooms of a size that one can see whole, and imports lead down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from statistics import median

from tools.imports import circle

ROOT = Path(__file__).parents[1]
ROOMS = [
    "benchmarks",
    "cli",
    "docs",
    "examples",
    "exporter",
    "formats",
    "measure",
    "runtime",
    "src",
    "tests",
    "tools",
    "training",
]
NATIVE = {".c", ".cc", ".cpp", ".cu", ".h"}


def lines(*suffixes: str) -> dict[str, int]:
    """The lines of every file with one of these suffixes, by its path in the tree."""
    files = (path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in suffixes)
    kept = (path for path in files if not {"node_modules", "__pycache__"} & set(path.parts))
    return {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in kept}


def holds_code(path: str) -> bool:
    """Whether a module is more than a docstring."""
    body = ast.parse((ROOT / path).read_text()).body
    return not all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in body)


def test_no_python_module_is_over_300_lines() -> None:
    assert {path: count for path, count in lines(".py").items() if count > 300} == {}


def test_no_native_unit_is_over_400_lines() -> None:
    assert {path: count for path, count in lines(*NATIVE).items() if count > 400} == {}


def test_half_of_the_modules_beside_tests_have_130_lines_or_less() -> None:
    counts = [n for path, n in lines(".py").items() if not path.startswith("tests/") and holds_code(path)]
    assert len(counts) > 200 and median(counts) <= 130


def test_imports_go_down_the_rooms_and_in_no_circle() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_circle_of_imports_is_named() -> None:
    imports = {"a": ["b", "c"], "b": ["d"], "c": [], "d": ["a"]}
    assert set(circle(imports)) == {"a", "b", "d"} and circle(imports)[0] == circle(imports)[-1]
    assert circle(imports | {"d": ["c"]}) == []
