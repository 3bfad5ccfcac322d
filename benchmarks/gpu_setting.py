"""What the sections of ``gpu.py`` share: the command line, the figures they write, why they cannot run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class NotHereError(Exception):
    """The section needs something that this machine does not have; the message says what."""


class Setting(argparse.Namespace):
    """The command line: where figures go, the device, and whether only the steps matter."""

    section: str
    output: Path
    device: str
    small: bool


def write(setting: Setting, name: str, document: dict[str, Any]) -> None:
    """Figures of a section, whole or not at all."""
    target = setting.output / f"gpu-{name}.json"
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(target)
    print(f"wrote {target.name}", flush=True)
