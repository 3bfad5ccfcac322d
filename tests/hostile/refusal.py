"""What every refusal of a checkpoint must be: one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparse_export import InputError
from sparse_export.exporter import checkpoint


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        checkpoint.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message and message.isprintable() and len(message) < 400
    assert caught.value.exit_code == 2
    return message
