"""A page in headless Chromium: its screenshot, what it asked the network for, what the console said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")


@dataclass
class Visit:
    """What a visit left behind."""

    pixels: NDArray[np.uint8]
    requests: list[str]
    console: list[str]


def visit(page: Path, folder: Path, width: int, height: int, dark: bool = False) -> Visit:
    """Open a local page at a window size; nothing outside the machine can be reached from it."""
    from PIL import Image

    shot, log = folder / "shot.png", folder / "net.json"
    scheme = "0" if dark else "1"
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *_QUIET),
        *(f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"),
        *("--enable-logging=stderr", f"--log-net-log={log}", "--hide-scrollbars"),
        *(f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={width},{height}"),
        *(f"--screenshot={shot}", page.resolve().as_uri()),
    ]
    env = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=True)
    text = log.read_text()
    events = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")["events"]
    # What the browser asks for on its own account (its updates) has no origin; the page's requests have.
    asked = [e["params"] for e in events if "url" in e.get("params", {}) and "initiator" in e["params"]]
    urls = {str(p["url"]) for p in asked if p["initiator"] != "not an origin"}
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Visit(np.asarray(Image.open(shot).convert("RGB")), sorted(urls), console)
