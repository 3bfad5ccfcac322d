"""The page of one export. Every key of docs/report.schema.json may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import charts
from .rendering import Document, render
from .table import megabytes
from .tiles import SIZE_WORDS, ratio_tile


def render_export_report(report: Document) -> str:
    """The page of one export. Every key of docs/report.schema.json may be missing.

    Parameters
    ----------
    report
        The export report as its JSON form.
    """
    layers = report.get("layers") or []
    report = {**dict.fromkeys(("source", "format", "seconds", "command")), **report}
    return render(
        "export.html.j2",
        title=Path(str(report.get("output") or report.get("source") or "model")).name,
        report=report,
        tiles=_export_tiles(report),
        waterfall=_export_waterfall(report),
        sizes=_export_sizes(report),
        rows=charts.layer_rows(layers),
        verification=report.get("verification"),
        notes=[_note(note) for note in report.get("notes") or []],
        versions=", ".join(f"{k} {v}" for k, v in (report.get("versions") or {}).items()),
    )


def _note(note: Any) -> dict[str, str]:
    """A note as level and text, also when it is a pair or plain text."""
    if isinstance(note, dict):
        return {"level": str(note.get("level") or "info"), "text": str(note.get("text") or "")}
    if isinstance(note, list | tuple) and len(note) == 2:
        return {"level": str(note[0]), "text": str(note[1])}
    return {"level": "info", "text": str(note)}


def _export_tiles(report: Document) -> list[dict[str, str]]:
    """File ratio, weights ratio, density, and whether it was verified."""
    tiles = []
    dense, packed = report.get("dense_file_bytes"), report.get("file_bytes")
    if dense and packed:
        tiles.append(ratio_tile("file", dense / packed, (megabytes(dense), megabytes(packed)), SIZE_WORDS))
    dense, packed = report.get("dense_bytes"), report.get("packed_bytes")
    if dense and packed:
        tiles.append(ratio_tile("weights", dense / packed, (megabytes(dense), megabytes(packed)), SIZE_WORDS))
    layers = report.get("layers") or []
    size, nnz = (
        int(report[key] if key in report else sum(layer.get(key) or 0 for layer in layers))
        for key in ("size", "nnz")
    )
    if size:
        detail = f"{nnz:,} of {size:,} weights"
        share = {"what": "density", "value": f"{nnz / size:.1%}", "word": "non-zero", "detail": detail}
        tiles.append({**share, "note": "", "tone": ""})
    checked = report.get("verification")
    if checked:
        good = bool(checked.get("passed", True))
        error = checked.get("max_abs")
        detail = "" if error is None else f"largest difference {error:.1e}"
        word = "outputs agree" if good else "outputs differ"
        tile = {"what": "verified", "value": "✓" if good else "✗", "word": word, "detail": detail}
        tiles.append({**tile, "note": "", "tone": "good" if good else "bad"})
    return tiles


def _export_waterfall(report: Document) -> list[dict[str, Any]] | None:
    """From the dense file to the packed one: zeros out, positions in, everything around the weights."""
    keys = ("dense_file_bytes", "file_bytes", "dense_bytes", "packed_bytes", "lab_bytes")
    if any(report.get(key) is None for key in keys):
        return None
    dense_file, file, dense, packed, nonzeros = (int(report[key]) for key in keys)
    around = (file - packed) - (dense_file - dense)
    steps = [
        ("zeros", nonzeros - dense),
        ("positions" if packed >= nonzeros else "encoding", packed - nonzeros),
    ]
    return charts.waterfall(
        ("dense file", dense_file), [*steps, ("around the weights", around)], "packed file"
    )


def _export_sizes(report: Document) -> list[dict[str, Any]]:
    """The packed file among what else one could ship."""
    named = [
        ("dense file", "dense_file_bytes", "base"),
        ("gzip -6 of the dense tensors", "gzip_bytes", "peer"),
        ("zstd -19 of the dense tensors", "zstd_bytes", "peer"),
        ("non-zeros × 32 bits (theory)", "lab_bytes", "peer"),
        ("packed file", "file_bytes", "ours"),
    ]
    found = [(label, int(report[key]), kind) for label, key, kind in named if report.get(key)]
    top = max((size for _, size, _ in found), default=1)
    return [
        {"label": label, "kind": kind, "w": 100 * s / top, "text": megabytes(s)} for label, s, kind in found
    ]
