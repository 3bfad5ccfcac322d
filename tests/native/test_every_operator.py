"""Every operator on every target, and on every device it has a kernel for, against plain numpy.

Nothing is listed here: the operators, their formats' components and the targets come from the library's own
tables (`tables.py`), the packing from the formats' table.

Adding an operator
------------------
1. A kernel is a folder ``runtime/native/kernels/<activations>_<weights>/`` (weights, call, kernel,
   reference, dispatch, traits, fuzz) and a row of ``kernels/table.cmake``, whose prefix gives it operators.
   A format whose weights are read as rows of (column, value) needs no kernel: a row source in
   ``kernels/rows/`` is enough.
2. The format's class says ``operator`` (the prefix) and ``operator_inputs`` (the components).
3. Build, and run this file: the operator is in it. Where its weights have a pattern of their own (two of
   four, plus or minus one), ``layers.weight_of`` has to make one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from sparse_export.formats import all_formats
from sparse_export.runtime.session import library_path

from .layers import SIGN_PREFIXES
from .tables import OPERATORS, SUPPORTED, TARGETS

ROOT = Path(__file__).parents[2]
DEVICES = ("cpu",)


@cache
def results(target: str) -> dict[str, str]:
    """What `every_operator.py` finds on that target."""
    variables = {"SPARSE_EXPORT_TARGET": target, "SPARSE_EXPORT_LIBRARY": str(library_path())}
    command = [sys.executable, "-m", "tests.native.every_operator"]
    environment = os.environ | variables
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operator", [operator.name for operator in OPERATORS])
def test_operator_computes_what_numpy_does(operator: str, target: str, device: str) -> None:
    if target not in SUPPORTED:
        pytest.skip(f"this CPU has no {target}")
    assert results(target)[operator] == ""


def test_components_are_those_of_the_formats() -> None:
    inputs = {fmt.operator: fmt.operator_inputs for fmt in all_formats() if fmt.operator is not None}
    for operator in OPERATORS:
        if operator.layer != "MaxPool" and operator.prefix not in SIGN_PREFIXES:
            assert operator.components == inputs[operator.prefix], operator.name


def test_the_library_has_operators_for_every_format_that_can_have_some() -> None:
    prefixes = {operator.prefix for operator in OPERATORS if operator.layer != "MaxPool"}
    for fmt in all_formats():
        mine = {name for name in (fmt.operator, fmt.sign_operator) if name}
        assert mine <= prefixes, fmt.name
        assert mine or not fmt.kernels, fmt.name


def test_targets_ascend_from_the_reference() -> None:
    assert TARGETS[:2] == ("reference", "scalar")
    assert SUPPORTED[:2] == TARGETS[:2] and tuple(t for t in TARGETS if t in SUPPORTED) == SUPPORTED
