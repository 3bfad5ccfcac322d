"""Every file a command writes: checked before the work, no source, no other output, named on failure."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import onnx
import pytest

from sparse_export.cli import run
from sparse_export.exporter.files import atomic, onnx_write

from ..measure.small_models import chain
from ..onnx_models import residual_net

QUICK = ["--rounds", "1", "--warmup", "0", "--min-runs", "2", "--min-seconds", "0", "-q"]


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A model with an external data file."""
    made, _ = onnx_write.save(residual_net(rng), tmp_path / "model.onnx", external_data=True)
    return made


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str | Path) -> str:
    """The error line of a command that must change nothing."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run([str(argument) for argument in arguments]) == 2
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("option", ["-o", "--report", "--card"])
def test_force_spares_the_external_data_of_the_source(
    option: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data,) = tmp_path.glob("*.data")
    assert "overwrite the input" in refused(capsys, tmp_path, model, option, data, "--force")
    assert "overwrite the input" in refused(capsys, tmp_path, model, option, model, "--force")


def test_no_two_outputs_of_an_export_are_one_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for first, second in (("-o", "--report"), ("-o", "--card"), ("--report", "--card")):
        line = refused(capsys, tmp_path, model, first, tmp_path / "x.onnx", second, f"{tmp_path}/./x.onnx")
        assert f"{first} and {second} name the same file" in line
    default = tmp_path / "model.auto.onnx"
    assert "name the same file" in refused(capsys, tmp_path, model, "--card", default)


def test_existing_document_is_refused_before_the_export(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").write_text("mine")
    line = refused(capsys, tmp_path, model, "--report", tmp_path / "page.html")
    assert line.endswith("page.html: exists; use --force to overwrite it")


def test_archive_refuses_documents_it_would_not_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    for option in ("--report", "--card"):
        line = refused(capsys, tmp_path, tmp_path / "m.pt", "--archive", option, tmp_path / "d")
        assert f"{option} does not apply" in line


def test_bench_checks_its_files_before_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chain(tmp_path / "m.onnx")
    monkeypatch.setattr("sparse_export.measure.run.run", None)  # nothing may be measured
    (tmp_path / "old").write_text("mine")
    for option in ("--save", "--csv", "--markdown", "--html"):
        assert "use --force" in refused(capsys, tmp_path, "bench", model, option, tmp_path / "old")
        assert "overwrite the input" in refused(capsys, tmp_path, "bench", model, option, model, "--force")
    line = refused(capsys, tmp_path, "bench", model, "--save", tmp_path / "x", "--csv", tmp_path / "x")
    assert "--save and --csv name the same file" in line


def test_bench_overwrites_with_force(tmp_path: Path) -> None:
    model, page = chain(tmp_path / "m.onnx"), tmp_path / "page.html"
    page.write_text("old")
    assert run(["bench", str(model), *QUICK, "--html", str(page), "--force"]) == 0
    assert page.read_text().startswith("<!doctype html>")


def test_failure_after_the_model_was_published_says_that_it_is_there(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, real = tmp_path / "out.onnx", atomic._publish

    def full(path: Path, target: Path, *rest: object) -> None:
        if target.name == "page.html":
            raise OSError(28, "No space left on device")
        real(path, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(atomic, "_publish", full)
    assert run([str(model), "-o", str(output), "--report", str(tmp_path / "page.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "page.html: cannot be written: No space left on device" in line
    assert line.endswith(f"already written: {output}") and onnx.load(str(output))


@pytest.mark.parametrize("written", [True, False])
def test_interrupt_says_what_was_written(
    written: bool,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = "sparse_export.exporter.report.report.Report.measure"
    if not written:
        step = "sparse_export.exporter.prove.proof.Proof.of_written"
    monkeypatch.setattr(step, lambda *_, **__: signal.raise_signal(signal.SIGINT))
    output = tmp_path / "out.onnx"
    # Whoever starts the tests in the background has them ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run([str(model), "-o", str(output)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    (line,) = capsys.readouterr().err.split("\n")[1:-1]  # click ends the line of ^C
    assert line.endswith(f"already written: {output}" if written else "nothing was written")
    assert output.exists() == written
