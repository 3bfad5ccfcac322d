"""What a session really runs, as its profile tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime


def profiled(tmp_path: Path) -> onnxruntime.SessionOptions:
    """Session options that keep a profile."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    return options


def operators(session: Any, feeds: dict[str, Any]) -> set[str]:
    """The operators that one run of a profiled session takes."""
    session.run(None, feeds)
    events = json.loads(Path(session.end_profiling()).read_text())
    return {name for e in events if (name := e.get("args", {}).get("op_name"))}
