"""The model card: what an export did, as a page of Markdown to put beside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...text import code, markdown, one_line
from .table import megabytes


def render(report: dict[str, Any]) -> str:
    """The card of one export. Every key of docs/report.schema.json may be missing.

    Parameters
    ----------
    report
        The export report as its JSON form.
    """
    name = Path(str(report.get("output") or report.get("source") or "model")).name
    parts = [
        f"# {markdown(name)}",
        _summary(report),
        _sizes(report),
        _layers(report),
        _check(report),
        _how(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(report: dict[str, Any]) -> str:
    """One sentence: from what, in which format, how much smaller."""
    source = Path(str(report.get("source") or "a model")).name
    sentence = f"Packed from {markdown(source)} by sparse-export"
    if report.get("format"):
        sentence += f" in the format {code(report['format'])}"
    dense, packed = report.get("dense_file_bytes"), report.get("file_bytes")
    if dense and packed:
        sentence += f": {megabytes(packed)} instead of {megabytes(dense)} ({dense / packed:.2f}x smaller)"
    return (
        f"{sentence}. It runs in any onnxruntime as it is; with the operators of sparse-export registered it "
        "runs on the packed weights."
    )


def _sizes(report: dict[str, Any]) -> str:
    named = [
        ("dense file", "dense_file_bytes"),
        ("gzip -6 of the dense tensors", "gzip_bytes"),
        ("zstd -19 of the dense tensors", "zstd_bytes"),
        ("non-zeros × 32 bits, positions left out", "lab_bytes"),
        ("this file", "file_bytes"),
    ]
    rows = [f"| {label} | {report[key]:,} |" for label, key in named if report.get(key)]
    return "\n".join(["## Size", "", "| | bytes |", "| --- | ---: |", *rows]) if rows else ""


def _layers(report: dict[str, Any]) -> str:
    """One row a weight: format, density, bytes before and after, reason."""
    layers = report.get("layers") or []
    if not layers:
        return ""
    lines = ["## Layers", "", "| weight | shape | density | format | dense | stored | why |"]
    lines += ["| --- | --- | ---: | --- | ---: | ---: | --- |"]
    for layer in layers:
        density = layer.get("density")
        cells = [
            markdown(layer.get("name") or "?"),
            "×".join(str(d) for d in layer.get("shape") or []),
            "–" if density is None else f"{density:.1%}",
            markdown(layer.get("format") or ""),
            megabytes(layer.get("dense_bytes")),
            megabytes(layer.get("packed_bytes")),
            markdown(layer.get("reason") or ""),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _check(report: dict[str, Any]) -> str:
    """How the written file was compared with its source."""
    checked = report.get("verification")
    if not checked:
        return "## Verification\n\nNot verified."
    verdict = "agree with" if checked.get("passed", True) else "DIFFER from"
    text = f"The outputs of the written file {verdict} the source's"
    if checked.get("inputs") is not None:
        text += f" on {checked['inputs']} inputs"
    if checked.get("max_abs") is not None:
        text += f": largest difference {checked['max_abs']:.2e}"
    if checked.get("top1_agreement") is not None:
        text += f", same top-1 in {checked['top1_agreement']:.2%}"
    return f"## Verification\n\n{text}."


def _how(report: dict[str, Any]) -> str:
    """Command and versions."""
    lines = ["## How it was made", ""]
    if report.get("command"):
        lines += ["```", one_line(str(report["command"])).replace("```", "``\\`"), "```", ""]
    versions = report.get("versions") or {}
    if versions:
        lines.append(", ".join(f"{markdown(name)} {markdown(number)}" for name, number in versions.items()))
    return "\n".join(lines).rstrip() if len(lines) > 2 else ""
