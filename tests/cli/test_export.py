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
import torch

import sparse_export
from sparse_export.cli import run

from .. import nets
from ..onnx_models import residual_net

HERE = Path(__file__).parents[1]
ARCH = ["--arch", f"{HERE / 'nets.py'}:small", "--input-shape", "1x64"]
CSR = ["--format", "csr", *ARCH]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A pruned state dict with its masks still in."""
    path = tmp_path / "model.pt"
    torch.save(nets.pruned(nets.small).state_dict(), path)
    return path


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


def test_refuses_a_report_over_an_existing_file_before_working(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = checkpoint.with_name("report.html")
    page.write_text("mine")
    assert "--force" in refuse([str(checkpoint), "--report", str(page), *CSR], capsys)
    assert page.read_text() == "mine" and not checkpoint.with_name("model.csr.onnx").exists()


def test_archive_gives_the_checkpoint_back(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, back = checkpoint.with_name("model.packed.safetensors"), checkpoint.with_name("back.pt")
    assert run([str(checkpoint), "--archive", "--no-fold"]) == 0
    assert "read back bit for bit" in capsys.readouterr().out
    assert run(["unpack", str(archive), "-o", str(back)]) == 0
    source, got = torch.load(checkpoint), torch.load(back)
    assert list(source) == list(got)
    assert all(source[name].numpy().tobytes() == got[name].numpy().tobytes() for name in source)


def test_archive_command_writes_what_the_short_form_does(checkpoint: Path) -> None:
    files = [checkpoint.with_name(name) for name in ("one.safetensors", "two.safetensors")]
    assert run(["archive", str(checkpoint), "-q", "-o", str(files[0])]) == 0
    assert run([str(checkpoint), "--archive", "-q", "-o", str(files[1])]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_archive_command_names_its_file_and_leaves_another_alone(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["archive", str(checkpoint), "--json", "--no-fold", "--exact-zeros"]) == 0
    assert json.loads(capsys.readouterr().out)["output"].endswith("model.packed.safetensors")
    assert "--force" in refuse(["archive", str(checkpoint)], capsys)
    assert "--arch" in refuse(["archive", str(checkpoint), *ARCH], capsys)


def test_archive_refuses_options_of_a_graph(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--arch does not apply" in refuse([str(checkpoint), "--archive", *ARCH], capsys)
    assert "--no-fold" in refuse([str(checkpoint), "--no-fold", *ARCH], capsys)


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


def refuse(args: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """Run a command that must fail with one clear line; return the line."""
    assert run(args) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("sparse-export: error: "), err
    return err


def test_failed_verification_leaves_no_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(checkpoint.parent.iterdir())
    assert "over the tolerance" in refuse([str(checkpoint), "--rtol", "0", "--atol", "0", *CSR], capsys, 1)
    assert sorted(checkpoint.parent.iterdir()) == before


def test_refuses_nan_weight(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(checkpoint)
    state["2.weight_orig"][0, 0], state["2.weight_mask"][0, 0] = float("nan"), 1
    torch.save(state, checkpoint)
    before = sorted(checkpoint.parent.iterdir())
    assert "2.weight" in refuse([str(checkpoint), *CSR], capsys)
    assert sorted(checkpoint.parent.iterdir()) == before


def test_refuses_an_unknown_goal(checkpoint: Path) -> None:
    with pytest.raises(sparse_export.InputError, match="'size' or 'speed'"):
        sparse_export.export(checkpoint, optimize="beauty")


def test_refuses_unknown_architecture_naming_the_three_ways(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refuse([str(checkpoint)], capsys)
    assert "--arch" in line and ".onnx" in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--layers", "nosuch*=csr"], "nosuch*"),
        (["--layers", "0.*=zip"], "zip"),
        (["--layers", "0.weight"], "GLOB=FORMAT"),
        (["--format", "zip"], "zip"),
        (["--input-shape", "1x-3"], "1x-3"),
        (["--rtol", "nan"], "nan"),
        (["--nosuch"], "--nosuch"),
    ],
)
def test_refuses_bad_options(
    arguments: list[str], word: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert word in refuse([str(checkpoint), *ARCH, *arguments], capsys)


def test_refuses_output_that_is_the_input(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # H67
    before = checkpoint.read_bytes()
    assert "overwrite the input" in refuse([str(checkpoint), "-o", str(checkpoint), "--force", *CSR], capsys)
    assert checkpoint.read_bytes() == before


def test_refuses_existing_output_without_force(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = checkpoint.with_name("model.csr.onnx")
    target.write_bytes(b"mine")
    assert "--force" in refuse([str(checkpoint), *CSR], capsys)
    assert target.read_bytes() == b"mine"
    assert run([str(checkpoint), "-q", "--force", *CSR]) == 0


def test_refuses_unwritable_output(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuse([str(checkpoint), "-o", str(checkpoint / "out.onnx"), *CSR], capsys)
    refuse([str(checkpoint), "-o", "/proc/out.onnx", *CSR], capsys)


def test_control_characters_in_names_cannot_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # H22
    line = refuse([str(tmp_path / "a\x1b[2J\nb.pt")], capsys)
    assert "\x1b" not in line


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


def test_broken_pipe_is_quiet(checkpoint: Path) -> None:  # H71
    command = f"{sys.executable} -m sparse_export.cli.__main__ inspect {checkpoint} | head -0"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.stderr == ""
