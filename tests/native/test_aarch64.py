"""The kernels for aarch64, cross-compiled: random layers and hostile inputs under qemu and sanitizers."""

from __future__ import annotations

import pytest

from .aarch64 import QUICK, TARGETS, Build, missing

pytestmark = pytest.mark.timeout(900)  # of which most is compiling


@pytest.fixture(scope="module")
def build() -> Build:
    """The programs, up to date."""
    if lacks := missing():
        pytest.skip(lacks)
    QUICK.make("random_layers", "fuzz_ops")
    return QUICK


@pytest.mark.parametrize("target", TARGETS)
def test_random_layers_are_within_their_bounds(build: Build, target: str) -> None:
    """All cases on the first target; the others change the 1-bit kernels only."""
    done = build.run("random_layers", target, 100 if target == TARGETS[0] else 40)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{target}: ")


def test_the_best_target_is_found(build: Build) -> None:
    done = build.run("random_layers", "", 1)
    assert done.stdout.startswith(f"{TARGETS[-1]}: "), done.stdout + done.stderr


def test_hostile_inputs_give_a_result_or_a_status(build: Build) -> None:
    done = build.run("fuzz_ops", "", 1000)
    assert done.returncode == 0, done.stdout + done.stderr
