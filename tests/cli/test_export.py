"""The main command, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch

import sparse_export
from sparse_export.cli import run

from .. import nets
from ..onnx_models import residual_net
from .exports import ARCH, CSR, HERE, refuse


def test_exports_next_to_the_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(checkpoint), *CSR]) == 0
    out = capsys.readouterr().out
    written = checkpoint.with_name("model.csr.onnx")
    assert "top-1 agreement 100.00%" in out and f"{written.stat().st_size:,}" in out
    session = onnxruntime.InferenceSession(str(written))
    x = torch.randn(5, 64)
    with torch.no_grad():
        expected = nets.pruned(nets.small)(x).numpy()
    np.testing.assert_allclose(
        session.run(None, {session.get_inputs()[0].name: x.numpy()})[0], expected, atol=1e-5
    )


def test_auto_makes_the_smallest_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {}
    for name in ("auto", "csr", "bitmask", "split"):
        assert run([str(checkpoint), "--json", "--format", name, *ARCH]) == 0
        report = json.loads(capsys.readouterr().out)
        sizes[name] = report["file_bytes"]
        assert report["file_bytes"] <= report["dense_file_bytes"]
    assert sizes["auto"] == min(sizes.values())


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--optimize", "speed"], "model.speed.onnx"),
        (["--optimize", "speed", "--format", "csr"], "model.csr.speed.onnx"),
        ([], "model.auto.onnx"),
    ],
)
def test_what_was_asked_for_stands_in_the_name(checkpoint: Path, words: list[str], name: str) -> None:
    assert run([str(checkpoint), *words, *ARCH, "--quiet"]) == 0
    assert [path.name for path in checkpoint.parent.glob("*.onnx")] == [name]


def test_dense_bytes_are_compressed_only_when_asked(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(checkpoint), "--json", *CSR]) == 0
    assert json.loads(capsys.readouterr().out)["gzip_bytes"] is None
    assert run([str(checkpoint), "--json", "--compare", "--force", *CSR]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["zstd_bytes"] > 0 and 0 < report["gzip_bytes"] < report["dense_bytes"]


def test_json_report_is_data_on_stdout(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(checkpoint), "--json", *CSR]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verification"]["passed"] and report["file_bytes"] < report["dense_file_bytes"]
    assert {row["format"] for row in report["layers"]} <= {"csr", "dense"}


def test_dry_run_writes_nothing(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(checkpoint.parent.iterdir())
    assert run([str(checkpoint), "--dry-run", *CSR]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert sorted(checkpoint.parent.iterdir()) == before


def test_quiet_prints_nothing(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(checkpoint), "-q", *CSR]) == 0
    assert capsys.readouterr() == ("", "")


def test_layers_option_overrides_the_format(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(checkpoint), "--json", "--layers", "0.*=dense", *CSR]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["layers"]}
    assert rows["0.weight"]["format"] == "dense" and rows["0.weight"]["reason"] == "asked for"


def test_exports_an_onnx_file(tmp_path: Path, rng: np.random.Generator) -> None:
    onnx.save(residual_net(rng), str(tmp_path / "net.onnx"))
    assert run([str(tmp_path / "net.onnx"), "-o", str(tmp_path / "out.onnx")]) == 0
    assert run(["verify", str(tmp_path / "net.onnx"), str(tmp_path / "out.onnx")]) == 0


def test_exports_every_kind_of_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(nets.pruned(nets.mixed, 0.7).state_dict(), tmp_path / "m.pt")
    arch = ["--arch", f"{HERE / 'nets.py'}:mixed", "--input-shape", "1x3x20x20"]
    assert run([str(tmp_path / "m.pt"), "--json", "--format", "csr", *arch]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["op"] for row in report["layers"] if row["format"] == "csr"} >= {"Conv", "Gemm"}
    assert report["verification"]["top1_agreement"] == 1.0


def test_writes_the_report_page_and_the_model_card(checkpoint: Path) -> None:
    page, card = checkpoint.with_name("report.html"), checkpoint.with_name("card.md")
    assert run([str(checkpoint), "-q", "--report", str(page), "--card", str(card), *CSR]) == 0
    assert "<html" in page.read_text() and "0.weight" in page.read_text()
    assert "csr" in card.read_text()


@pytest.mark.parametrize("name", ["fp16", "bf16", "int8", "codebook:16"])
def test_lossy_values_say_so_and_report_the_difference(
    name: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(checkpoint), "--json", "--values", name, *CSR]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verification"]["max_abs"] > 0
    assert any("lossy" in note["text"] for note in report["notes"])
    assert name in {row["values"] for row in report["layers"]}
    capsys.readouterr()
    refuse([str(checkpoint), "--force", "--values", name, "--rtol", "0", *CSR], capsys, 1)


def test_external_data_goes_beside_the_model(checkpoint: Path) -> None:
    assert run([str(checkpoint), "--external-data", *CSR]) == 0
    assert len(list(checkpoint.parent.glob("model.csr.*.data"))) == 1


def test_inspect_lists_packed_and_dense_tensors(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run([str(checkpoint), "-q", *CSR])
    assert run(["inspect", str(checkpoint.with_name("model.csr.onnx")), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["layers"]}
    source = nets.pruned(nets.small).state_dict()
    weight = source["0.weight_orig"] * source["0.weight_mask"]
    assert rows["0.weight"]["format"] == "csr" and rows["0.weight"]["nnz"] == int(weight.count_nonzero())


def test_verify_tells_a_different_model(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run([str(checkpoint), "-q", *CSR])
    other = tmp_path / "other.pt"
    torch.save(nets.pruned(nets.small, seed=1).state_dict(), other)
    assert run(["verify", str(other), str(checkpoint.with_name("model.csr.onnx")), *ARCH]) == 1
    assert "differ" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["export"], ["archive"], ["tune"]])
def test_the_folder_one_is_in_is_a_folder_like_others(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net").mkdir()
    monkeypatch.chdir(tmp_path / "net")
    assert "a directory without a checkpoint" in refuse([*command, "."], capsys)
    safetensors.torch.save_file({"0.weight": torch.eye(64)}, "model.safetensors")
    if command == ["archive"]:
        assert run([*command, ".", "-q"]) == 0
        assert {path.name for path in Path().iterdir()} == {"model.safetensors", "net.packed.safetensors"}


def test_calibration_data_without_int8_are_refused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refuse([str(checkpoint), "--calibrate", "digits", *ARCH], capsys)
    assert "--activations int8" in line


@pytest.mark.parametrize("width", [80, 160])
def test_a_plan_can_be_read_at_every_width(
    width: int, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run([str(checkpoint), "--dry-run", *ARCH]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    (reason,) = (at for at, line in enumerate(lines) if "smaller at density" in line and "0.weight" in line)
    assert len(lines[reason]) > width * 0.6 and "expected" in " ".join(lines[reason : reason + 2])


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, sparse_export; from sparse_export.cli import run\n"
        "[run([*command, '--help']) for command in ([], ['export'], ['inspect'], ['verify'], ['ops-path'])]\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'scipy', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout


def test_the_package_runs_as_the_command_does() -> None:
    command = [sys.executable, "-m", "sparse_export", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"sparse-export {sparse_export.__version__}\n"


def test_broken_pipe_is_quiet(checkpoint: Path) -> None:  # H71
    command = f"{sys.executable} -m sparse_export inspect {checkpoint} | head -0"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.stderr == ""
