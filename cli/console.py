"""What all commands share on the terminal: clean text, error lines, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from ..text import clean


def error_line(text: str) -> None:
    """One line on stderr."""
    click.echo(f"sparse-export: error: {clean(text)}", err=True)


def say(text: str, *, quiet: bool = False) -> None:
    """Talk, on stderr."""
    if not quiet:
        click.echo(clean(text), err=True)


def result(text: str) -> None:
    """The line that sums up, on stdout."""
    click.echo(clean(text))


def print_json(value: Any) -> None:
    """Data, on stdout; NaN and infinity become null, so that every reader takes it."""
    click.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and value not in (float("inf"), float("-inf")) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def human(nbytes: float | None) -> str:
    """A size for people: 1,234 B, 12.3 kB, 4.56 MB (powers of 1000)."""
    if nbytes is None:
        return "-"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return (
                f"{nbytes / factor:.3g} {unit}" if nbytes / factor < 100 else f"{nbytes / factor:.0f} {unit}"
            )
    return f"{nbytes:.0f} B"


@contextlib.contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A callback (what, done, total) that draws a bar on stderr where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda text, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def update(text: str, done: int, total: int) -> None:
            bar.update(task, description=clean(text), completed=done, total=total or None)

        yield update
