"""`make gpu`: one clear line without a GPU, and the same steps on the CPU."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/gpu.py."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_leaves_no_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--output", tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no GPU here: no NVIDIA GPU that torch ")
    assert not (tmp_path / "out").exists()


def test_a_python_without_the_needed_packages_is_named(gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch for you')\n")
    env = gpu.environment(gpu.link_tree(tmp_path / "tree"))
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    assert gpu.why_not("cuda", env) == "--device cuda needs torch: pip install torch"


def test_sections_run_on_the_cpu_and_describe_the_machine(tmp_path: Path) -> None:
    words = [
        "--device",
        "cpu",
        "--small",
        "--output",
        tmp_path,
        "--only",
        "layers",
        "vgg11",
        "onnxruntime",
        "sessions",
    ]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sections = json.loads((tmp_path / "gpu-run.json").read_text())["sections"]
    assert [s["status"] for s in sections] == ["done", "done", "skipped", "done"]
    layers = json.loads((tmp_path / "gpu-layers.json").read_text())
    assert layers["machine"]["versions"]["torch"]
    measured = [row for row in layers["rows"] if "error" not in row]
    assert {row["form"] for row in measured} == {"fp32", "tf32", "fp16", "csr"}
    assert all(row["us"] > 0 and row["relative_error"] < 1e-3 for row in measured)
    assert {row["form"] for row in layers["rows"] if "error" in row} == {"2:4"}
    vgg = json.loads((tmp_path / "gpu-vgg11.json").read_text())
    assert [r["status"] for r in vgg["results"]] == ["ok", "failed", "ok"]
    assert {m["path"] for m in vgg["models"]} == {"vgg11.pt"}


def test_a_section_out_of_time_is_stopped_and_recorded(gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "gpu_sections.py").write_text("import time\ntime.sleep(60)\n")
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = gpu.run_section(gpu.SECTIONS[0], [str(tmp_path), "cpu"], env, 0.5)
    assert (ended.status, ended.reason) == ("partly", "stopped after 0 s")
    assert ended.seconds < 60  # it would take minutes


def test_a_section_that_crashes_costs_itself_alone(gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "gpu_sections.py").write_text("import os\nos.abort()\n")
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = gpu.run_section(gpu.SECTIONS[0], [str(tmp_path), "cpu"], env, 30)
    assert (ended.status, ended.reason) == ("failed", "ended by signal 6")
