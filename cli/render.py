"""Reports as tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..text import clean, counted
from .console import human

if TYPE_CHECKING:
    from ..exporter.archive import Contents
    from ..exporter.prove.compare import Verification
    from ..exporter.prove.integers import Integers
    from ..exporter.prove.verdict import OutputVerdict
    from ..exporter.report.report import Report
    from ..exporter.report.waterfall import Waterfall


#: Columns from which on a plan has its reasons in the table.
_WIDE = 120


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
        _print_plan(out, report)
    out.print(_size_table(report))
    if report.waterfall:
        out.print()
        out.print(_waterfall_table(report.waterfall))
        out.print()
    out.print(_tally(report, told=verbose or dry_run))
    if dry_run:
        out.print("dry run: nothing was written")
        return
    if report.verification:
        out.print(verification(report.verification), markup=False, soft_wrap=True)
    else:
        out.print("[yellow]not verified (--no-verify)[/]")
    for path in report.files:
        out.print(f"wrote {_safe(str(path))}", soft_wrap=True)


def _tally(report: Report, told: bool) -> str:
    """How many weights were packed; `told` where the reasons of the others are on the screen."""
    weights = report.weights
    if not weights:
        return "the model has no constant weight of 1 kB and more"
    packed = sum(row["format"] != "dense" for row in weights)
    kept = len(weights) - packed
    why = "" if told else " (-v says why)"
    dense = f", {kept} kept dense{why}" if kept else ""
    text = f"{packed} of {len(weights)} weights packed{dense}; density {report.density:.2%}"
    run = sum(row["run"] == "packed" for row in weights)
    if packed:
        expanded = f"{packed - run} expanded at load" if packed > run else "none expanded at load"
        text += f"\nwith the library {run} run packed, {expanded}: {human(report.memory_bytes)} of weights"
    return text


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
    """All tensors, from dense over the theory to the file, and the order-0 entropy beside it."""
    table = _byte_table("all tensors", "dense", waterfall.dense, waterfall.rows())
    over = waterfall.over_entropy_percent
    if over is not None:
        table.add_row(f"  the file is {abs(over):.1f} % {'over' if over >= 0 else 'under'} it", "", "", "")
    return table


def _print_plan(out: Console, report: Report) -> None:
    """A row for each weight; its reason behind it, or below it where the terminal is narrow."""
    wide = out.width >= _WIDE
    table = Table(box=None, pad_edge=False)
    table.add_column("weight", overflow="fold", ratio=3)
    table.add_column("density", justify="right", no_wrap=True)
    table.add_column("format", no_wrap=True)
    table.add_column("runs", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("in memory", justify="right", no_wrap=True)
    if wide:
        table.add_column("reason", ratio=4)
    for row in report.layers:
        nbytes = f"{human(row['dense_bytes'])} -> {human(row['packed_bytes'])}"
        if row["format"] == "dense":
            nbytes = human(row["dense_bytes"])
        table.add_row(
            _safe(row["name"]), f"{row['density']:.1%}", _safe(row["format"]), row["run"], nbytes,
            human(row["memory_bytes"]), *([_safe(row["reason"])] if wide else []),
        )  # fmt: skip
    out.print(table)
    for row in report.layers if not wide else ():
        out.print(f"[dim]{_safe(row['name'])}: {_safe(row['reason'])}[/]")


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
        + (
            f"; density {report.density:.2%}: {report.nnz:,} of the {report.size:,} weights are not zero"
            if report.size
            else ""
        )
    )


def _format_cell(row: dict[str, Any]) -> str:
    return _safe(f"{row['format']} {row['dtype']}")


def verification(result: Verification) -> str:
    """The verification in a few lines: what was compared, how far apart it is, what shows nothing."""
    numbers = (
        f"max abs {result.max_abs:.2e}, mean abs {result.mean_abs:.2e},\n"
        f"  relative {result.max_rel:.2e}, top-1 agreement {result.top1_agreement:.2%}"
    )
    against = f"{result.reference} on {result.inputs} inputs"
    if result.unproven:
        text = f"not proven against {against}: {result.unproven}"
    elif result.values:
        limit = ", within the tolerance given" if result.judged else ""
        integers = result.values == "int8 activations"
        asked = "--activations int8" if integers else f"--values {result.values}"
        text = f"differs from {against} by {numbers},\n  as asked for by {asked}{limit}"
    else:
        text = f"verified against {against}: {numbers}"
    if result.tensors:
        text += f"; {result.tensors} tensors bit for bit" + (" as stored" if result.values else "")
    if result.integers:
        text += _integers(result.integers)
    if len(result.outputs) > 1:
        text += "".join(map(_output_line, result.outputs))
    if result.runtimes:
        text += f"\n  in {' and in '.join(result.runtimes)}"
    return clean_lines([text, *(f"  {note}" for note in result.notes)])


def _integers(found: Integers) -> str:
    """How the layers that compute with integers compare, one by one."""
    layers = counted(found.layers, "integer layer")
    off = f"{found.share:.2g} of the values by one" if found.differing else "no value differs"
    return f"\n  {layers} within one quantum, each on the source's activations: {off}"


def _output_line(verdict: OutputVerdict) -> str:
    top1 = f", top-1 {verdict.top1:.2%}" if verdict.top1 is not None else ""
    numbers = f"max abs {verdict.max_abs:.2e}, relative {verdict.max_rel:.2e}{top1}"
    return f"\n  output {clean(verdict.name)}: {numbers}"


def clean_lines(lines: list[str]) -> str:
    """Lines joined, each of them safe for a terminal."""
    return "\n".join(clean(part) for line in lines for part in line.split("\n"))


def archive(report: Contents, source_bytes: int, *, verified: bool) -> None:
    """The summary of an archive that was written."""
    out = _console()
    _print_notes(out, [("info", note) for note in report.notes])
    rows = (("checkpoint", source_bytes), ("its tensors", report.dense_bytes), ("archive", report.file_bytes))
    out.print(_byte_table("size of", "tensors", report.dense_bytes, rows))
    out.print(f"{len(report.tensors)} tensors, " + ("read back bit for bit" if verified else "not read back"))
    out.print(f"wrote {_safe(str(report.path))}", soft_wrap=True)


def archive_json(report: Contents) -> dict[str, Any]:
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
