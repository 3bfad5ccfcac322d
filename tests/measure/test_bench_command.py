"""`sparse-export bench` from the command line: outputs and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparse_export import cli
from sparse_export.exporter import api
from sparse_export.measure import peers, request

QUICK = ["--rounds", "1", "--warmup", "0", "--min-runs", "2", "--min-seconds", "0"]


def bench(*args: str | Path) -> int:
    return cli.run(["bench", *map(str, args), *QUICK])


def test_prints_both_tables(models: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(models["dense"], models["sparse"]) == 0
    out = capsys.readouterr().out
    assert "Disk, load and memory" in out
    assert "speed-up (99 %)" in out
    assert "sparse.onnx" in out


def test_every_setting_is_a_row_and_a_chart(models: dict[str, Path], tmp_path: Path) -> None:
    page, data = tmp_path / "r.html", tmp_path / "r.json"
    assert (
        bench(models["dense"], "--batch", "1,2", "--threads", "1,2", "-q", "--html", page, "--save", data)
        == 0
    )
    rows = json.loads(data.read_text())["results"]
    assert [(r["threads"], r["batch"]) for r in rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert "<h3>2 threads, batch 2</h3>" in page.read_text()


def test_packed_model_runs_with_and_without_our_operators(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed, plan = tmp_path / "packed.onnx", tmp_path / "plan.json"
    report = api.export(models["sparse"], output=packed, format="csr", verify=False)
    plan.write_text(json.dumps(report.to_json()))
    both = ["--runtime", "onnxruntime,onnxruntime-stock"]
    assert bench(models["sparse"], packed, *both, "--plan", plan, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["status"], r["error"]) for r in found["results"]] == [("ok", None)] * 4
    assert [bool(r["target"]) for r in found["results"]] == [False, False, True, False]
    assert all(r["difference"]["max_abs"] < 1e-4 for r in found["results"] if r["difference"])
    assert [layer["reason"] for layer in found["models"][2]["layers"]] == [p["reason"] for p in report.layers]


def test_writes_every_kind_of_file(models: dict[str, Path], tmp_path: Path) -> None:
    names = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "markdown", "html")}
    options = [text for kind, path in names.items() for text in (f"--{kind}", str(path))]
    assert bench(models["dense"], "--quiet", "--save", tmp_path / "out.json", *options) == 0
    assert json.loads((tmp_path / "out.json").read_text())["schema"] == "sparse-export/bench/1"
    assert names["csv"].read_text().startswith("label,origin,runtime")
    assert names["markdown"].read_text().startswith("**Disk")
    assert names["html"].read_text().startswith("<!doctype html>")


def test_accuracy_is_measured_where_data_is_given(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "d.npz", x=rng.standard_normal((100, 64), dtype=np.float32), y=rng.integers(0, 64, 100)
    )
    assert bench(models["dense"], "--data", tmp_path / "d.npz", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["accuracy"]["samples"] == 100
    assert 0 <= row["accuracy"]["accuracy"] <= 1


def test_broken_budget_is_exit_code_one(models: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(models["dense"], "--quiet", "--max-size", "1kB", "--max-rss", "1MB") == 1
    err = capsys.readouterr().err
    assert "dense.onnx: file of 0.05 MB is over 0.00 MB; dense.onnx: peak memory of" in err


@pytest.mark.parametrize(
    "args",
    [
        ["missing.onnx"],
        ["README.txt"],
        ["--threads", "0", "dense"],
        ["--runtime", "tensorflow", "dense"],
        ["--max-size", "big", "dense"],
        ["--input", "missing.npz", "dense"],
        ["--plan", "README.txt", "dense"],
        ["--runtime", "torch", "dense"],
        ["--batch", "2", "fixed"],
        [],
    ],
)
def test_bad_input_is_exit_code_two(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.txt").touch()
    assert bench(*[models.get(arg, arg) for arg in args]) == 2


def test_missing_runtime_is_exit_code_three(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(request, "find_spec", lambda name: None)
    assert bench(models["dense"], "--runtime", "openvino") == 3
    assert "runtime 'openvino' is not installed" in capsys.readouterr().err


def test_checkpoint_is_measured_against_its_dense_onnx_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(peers, "make", lambda *_: iter(()))

    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(32, 8)\n")
    torch.save(torch.nn.Linear(32, 8).state_dict(), tmp_path / "net.pt")
    shape = ["--arch", f"{tmp_path / 'net.py'}:make", "--input-shape", "1x32"]
    assert bench(tmp_path / "net.pt", "--peers", *shape, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    rows = {m["label"]: r for m, r in zip(found["models"], found["results"], strict=True)}
    assert rows["net.pt"]["speedup"] and rows["dense ONNX"]["speedup"] is None
    assert rows["net.pt"]["difference"]["max_abs"] < 1e-5


def test_peers_of_a_packed_baseline_ask_for_the_dense_model(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = tmp_path / "packed.onnx"
    api.export(models["sparse"], output=packed, format="csr", verify=False)
    assert bench(packed, "--peers") == 2
    assert "give it with --baseline" in capsys.readouterr().err


def test_interrupt_prints_what_is_measured(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparse_export.measure import harness

    real, calls = harness.run_worker, []

    def worker(*args: Any) -> dict[str, Any]:
        if len(calls) == 2:  # the inputs are found, one round is measured
            raise KeyboardInterrupt
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(harness, "run_worker", worker)
    assert bench(models["dense"], models["sparse"], "--json") == 130
    found = json.loads(capsys.readouterr().out)
    assert found["interrupted"]
    assert [r["status"] for r in found["results"]] == ["ok", "not run"]
