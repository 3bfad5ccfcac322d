"""Exported files in onnxruntime-node and, in a real browser, in onnxruntime-web: outputs as in Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from sparse_export import formats

from ..measure.browser import CHROMIUM
from .conftest import FORMATS, NETS, Cases

HERE = Path(__file__).parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None or not (HERE / "node_modules" / "onnxruntime-node").is_dir(),
    reason="onnxruntime for JavaScript is not installed (make js)",
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
PACKED = [*NETS, *(f"layer-{name}" for name in FORMATS)]
ALL = [*PACKED, "portable"]


def script(name: str, *words: str | Path) -> str:
    """What a script of this folder prints."""
    command = [str(NODE), str(HERE / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def in_node(cases: Cases) -> Cases:
    script("node.mjs", cases.folder)
    return cases


@pytest.fixture(scope="session")
def in_web(cases: Cases) -> Cases:
    script("web.mjs", cases.folder, str(CHROMIUM))
    return cases


def close(cases: Cases, name: str, where: str) -> None:
    """Equal but for the order of sums."""
    wanted, got = cases.outputs(name, where)
    assert wanted.size and np.abs(wanted).max() > 0
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))


@needs_node
@pytest.mark.parametrize("name", PACKED)
def test_the_file_holds_packed_layers(cases: Cases, name: str) -> None:
    nodes = onnx.load(cases.folder / f"{name}.onnx").graph.node
    packed = {node.op_type for node in nodes if node.domain == "sparse_export"}
    assert packed
    if name == "one-bit":
        assert any(op.startswith("Xnor") for op in packed)
    if name == "expanded":
        assert packed == {"SparseWeight"}
    if name.startswith("layer-"):
        assert packed == {f"{formats.get(name.removeprefix('layer-')).operator}MatMul"}


@needs_node
@pytest.mark.parametrize("name", ALL)
def test_node_computes_what_python_computes(in_node: Cases, name: str) -> None:
    close(in_node, name, "node")


@needs_node
@needs_chromium
@pytest.mark.parametrize("name", ALL)
def test_the_browser_computes_what_python_computes(in_web: Cases, name: str) -> None:
    close(in_web, name, "web")
