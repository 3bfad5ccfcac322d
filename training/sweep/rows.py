"""The rows of a sweep on disk: one file a row, and the tables made of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CorruptFileError, InputError
from ...exporter.files.atomic import atomic_file

if TYPE_CHECKING:
    from .task import Settings, Task

Row = dict[str, Any]


class Folder:
    """The folder of a sweep: its settings, one file a row, the tables made of them.

    Raises
    ------
    InputError
        If the folder holds rows of other settings.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.rows = path, path / "rows"
        try:
            self.rows.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be made a folder: {error.strerror}") from error
        wanted = json.loads(json.dumps(asdict(settings)))
        note = path / "settings.json"
        if note.exists() and (found := _read_json(note)) != wanted:
            changed = [k for k in wanted if not isinstance(found, dict) or found.get(k) != wanted[k]]
            raise InputError(
                f"{path} holds a sweep with other settings ({', '.join(changed)}); "
                "give the same ones to go on, or another folder with -o"
            )
        _write_json(note, wanted)

    def get(self, task: Task) -> Row | None:
        """The row, if it is there and of this very checkpoint."""
        path = self.rows / f"{task.key}.json"
        if not path.exists():
            return None
        row = _read_json(path)
        if not isinstance(row, dict) or "accuracy" not in row:
            raise CorruptFileError(f"{path}: not a row of a sweep; delete it")
        if row.get("digest") != task.digest:
            raise InputError(f"{path} is of another checkpoint; use another folder with -o")
        return {key: value for key, value in row.items() if key != "digest"}

    def put(self, task: Task, row: Row) -> None:
        """Keep a row, whole or not at all."""
        _write_json(self.rows / f"{task.key}.json", row | {"digest": task.digest})

    def write_tables(self, rows: Sequence[Row]) -> None:
        """Write rows.csv and rows.json."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        _write(self.path / "rows.csv", text.getvalue())
        _write_json(self.path / "rows.json", rows)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CorruptFileError(f"{path}: not readable as JSON; delete it") from error


def _write_json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, indent=1))


def _write(path: Path, text: str) -> None:
    with atomic_file(path, force=True) as handle:
        handle.write(text.encode())
