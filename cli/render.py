"""Reports as tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..text import clean
from .console import human

if TYPE_CHECKING:
    from ..exporter.archive import Report as ArchiveReport
    from ..exporter.prove.compare import Verification
    from ..exporter.report.report import Report
    from ..exporter.report.waterfall import Waterfall


def _console() -> Console:
    return Console(highlight=False, soft_wrap=False)


def _ratio(base: int | None, size: int | None) -> str:
    return f"{base / size:.2f}x" if base and size else "-"


def _safe(text: str) -> str:
    return escape(clean(text))


def _print_notes(out: Console, notes: Iterable[tuple[str, str]]) -> None:
    for level, text in notes:
        out.print(f"[{'yellow' if level == 'warn' else 'dim'}]{level}: {_safe(text)}[/]")


def export(report: Report, *, verbose: bool, dry_run: bool) -> None:
    """The summary of an export; with `verbose` the plan of every layer above it."""
    out = _console()
    _print_notes(out, report.notes)
    if verbose or dry_run:
        out.print(_plan_table(report))
    out.print(_size_table(report))
    if report.waterfall:
        out.print()
        out.print(_waterfall_table(report.waterfall))
        out.print()
    packed = sum(row["format"] != "dense" for row in report.layers)
    kept = len(report.layers) - packed
    out.print(
        f"{packed} of {len(report.layers)} weights packed"
        + (f", {kept} kept dense" + ("" if verbose or dry_run else " (-v says why)") if kept else "")
        + f"; density {report.nnz / report.size:.2%}"
        if report.size
        else "no layer with constant weights"
    )
    if dry_run:
        out.print("dry run: nothing was written")
        return
    if report.verification:
        out.print(verification(report.verification))
    else:
        out.print("[yellow]not verified (--no-verify)[/]")
    for path in report.files:
        out.print(f"wrote {_safe(str(path))}", soft_wrap=True)


def _byte_table(
    what: str, base: str, against: int | None, rows: Iterable[tuple[str, int | None]], bold: str = ""
) -> Table:
    """A row for each size that is known: exact, for people, and how often it goes into `against`."""
    table = Table(box=None, pad_edge=False)
    table.add_column(what)
    for title in ("bytes", "", f"{base} / this"):
        table.add_column(title, justify="right")
    for label, size in rows:
        if size is not None:
            style = "bold" if label == bold else ""
            table.add_row(label, f"{size:,}", human(size), _ratio(against, size), style=style)
    return table


def _size_table(report: Report) -> Table:
    rows = (
        ("checkpoint", report.source_bytes),
        ("dense ONNX file", report.dense_file_bytes),
        ("packed ONNX file", report.file_bytes),
    )
    return _byte_table("size of", "dense", report.dense_file_bytes, rows, bold="packed ONNX file")


def _waterfall_table(waterfall: Waterfall) -> Table:
    """All tensors, from dense over the theory to the file, and the entropy bound below."""
    table = _byte_table("all tensors", "dense", waterfall.dense, waterfall.rows())
    over = waterfall.over_bound_percent
    if over is not None:
        table.add_row(f"  the file is {abs(over):.1f} % {'over' if over >= 0 else 'under'} it", "", "", "")
    return table


def _plan_table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("weight", overflow="fold", ratio=3)
    table.add_column("density", justify="right", no_wrap=True)
    table.add_column("format", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("reason", ratio=4)
    for row in report.layers:
        nbytes = f"{human(row['dense_bytes'])} -> {human(row['packed_bytes'])}"
        if row["format"] == "dense":
            nbytes = human(row["dense_bytes"])
        table.add_row(
            _safe(row["name"]), f"{row['density']:.1%}", row["format"], nbytes, _safe(row["reason"])
        )
    return table


def contents(report: Report) -> None:
    """Every tensor of a file, and the totals."""
    out = _console()
    _print_notes(out, report.notes)
    table = Table(box=None, pad_edge=False)
    table.add_column("tensor", overflow="fold", ratio=3)
    table.add_column("shape", overflow="fold", ratio=1)
    table.add_column("format", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("density", justify="right", no_wrap=True)
    for row in report.layers:
        table.add_row(
            _safe(row["name"]), "x".join(map(str, row["shape"])) or "-", _format_cell(row),
            f"{row['packed_bytes']:,}", f"{row['density']:.1%}",
        )  # fmt: skip
    out.print(table)
    if report.waterfall:
        out.print()
        out.print(_waterfall_table(report.waterfall))
        out.print()
    out.print(
        f"{len(report.layers)} tensors, {report.packed_bytes:,} B in {report.source_bytes:,} B of file"
        + (f", {report.dense_bytes:,} B dense" if report.dense_bytes != report.packed_bytes else "")
        + (f"; {report.nnz:,} of {report.size:,} values are not zero" if report.size else "")
    )


def _format_cell(row: dict[str, Any]) -> str:
    return f"{row['format']} {row['dtype']}"


def verification(result: Verification) -> str:
    """The verification in one or two lines."""
    return (
        f"verified against {result.reference} on {result.inputs} inputs: max abs {result.max_abs:.2e}, "
        f"mean abs {result.mean_abs:.2e},\n  relative {result.max_rel:.2e}, top-1 agreement "
        f"{result.top1_agreement:.2%}" + (f"; {result.tensors} tensors bit for bit" if result.tensors else "")
    )


def archive(report: ArchiveReport, source_bytes: int, *, verified: bool) -> None:
    """The summary of an archive that was written."""
    out = _console()
    _print_notes(out, [("info", note) for note in report.notes])
    rows = (("checkpoint", source_bytes), ("its tensors", report.dense_bytes), ("archive", report.file_bytes))
    out.print(_byte_table("size of", "tensors", report.dense_bytes, rows))
    out.print(f"{len(report.tensors)} tensors, " + ("read back bit for bit" if verified else "not read back"))
    out.print(f"wrote {_safe(str(report.path))}", soft_wrap=True)


def archive_json(report: ArchiveReport) -> dict[str, Any]:
    """The same as JSON-able values."""
    return {
        "output": str(report.path),
        "file_bytes": report.file_bytes,
        "dense_bytes": report.dense_bytes,
        "ratio": report.ratio,
        "tensors": report.tensors,
        "tied": report.tied,
        "notes": report.notes,
    }
