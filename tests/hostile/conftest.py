"""Little memory for tests whose file asks for much."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch

#: Address space allowed on top of what the process already has: a bomb fails the test, not the machine.
ROOM = 1 << 30


@pytest.fixture
def little_memory() -> Any:
    torch.zeros(8).sum()
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
