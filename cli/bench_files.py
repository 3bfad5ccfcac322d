"""The files that `bench` writes: checked before anything is measured, written after it; `-` is stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

STDOUT = Path("-")
#: Parameter of the command to option, in the order they are written.
_OPTIONS = {"save": "--save", "csv_": "--csv", "markdown": "--markdown", "html": "--html"}


def check(models: tuple[Path, ...], given: dict[str, Any]) -> None:
    """Refuse what could not be written, before an hour of measuring rather than after it.

    Raises
    ------
    InputError
        See `targets.check_targets`.
    """
    from ..exporter.files.targets import check_targets

    targets = {option: given[name] for name, option in _OPTIONS.items() if given[name] not in (None, STDOUT)}
    if targets:
        check_targets(targets, force=given["force"], sources=_inputs(models, given))


def _inputs(models: tuple[Path, ...], given: dict[str, Any]) -> list[Path]:
    """Every file that is read."""
    from ..exporter.files.targets import SourceFiles

    read = [given[name] for name in ("input_", "data", "plan") if given[name]]
    if given["calibrate"] and Path(given["calibrate"]).is_file():
        read.append(Path(given["calibrate"]))
    return read + [file for model in models for file in SourceFiles(model, given["arch"])]


def write(found: dict[str, Any], models: tuple[Path, ...], given: dict[str, Any]) -> None:
    """Write what was asked for, each file whole or not at all.

    Raises
    ------
    InputError
        If one cannot be written.
    """
    from ..exporter.files.atomic import atomic_file

    sources = _inputs(models, given)
    for name in _OPTIONS:
        path = given[name]
        if path == STDOUT:
            click.echo(_text(name, found), nl=False)
        elif path:
            with atomic_file(path, force=given["force"], sources=sources) as file:
                file.write(_text(name, found).encode())
            sources.append(path)


def _text(name: str, found: dict[str, Any]) -> str:
    from ..measure.pages import html, table

    if name == "save":
        import json

        return json.dumps(found, indent=1, allow_nan=False) + "\n"
    made = {"csv_": table.to_csv, "markdown": table.markdown, "html": html.render_bench}[name](found)
    return str(made)
