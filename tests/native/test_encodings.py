"""Kernels hold no instruction that their target lacks, and what stands in for another target is its code."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

OBJECTS = Path(__file__).resolve().parents[2] / "build"
#: First bytes: of an instruction in the encoding of AVX-512, and in that of AVX.
EVEX, VEX = "62", ("c4", "c5")


def instructions(target: str) -> list[tuple[str, str, str]]:
    """First byte, name and operands of each instruction of the kernel built last, without padding."""
    if shutil.which("objdump") is None:
        pytest.skip("no objdump (Debian: binutils)")
    found = list(OBJECTS.glob(f"*/runtime/native/CMakeFiles/s8_csr_{target}.dir/kernels/s8_csr/kernel.cpp.o"))
    if not found:
        pytest.skip(f"no kernel for {target} was built in this checkout")
    newest = max(found, key=lambda path: path.stat().st_mtime)
    command = ["objdump", "-d", "--insn-width=16", str(newest)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = re.findall(
        r"^\s+[0-9a-f]+:\t([0-9a-f]{2})[0-9a-f ]*\t(?:\{e?vex\} )?(\S+) *(.*)$", text, re.MULTILINE
    )
    assert len(rows) > 1000
    padding = ("nop", "cs", "data16", "xchg")
    return [row for row in rows if not row[1].startswith(padding)]


def test_avxvnni_has_no_instruction_of_avx512() -> None:
    rows = instructions("avxvnni")
    products = [first for first, name, _ in rows if name == "vpdpbusd"]
    assert len(products) > 100 and set(products) <= set(VEX)
    assert EVEX not in {first for first, _, _ in rows}
    assert not [operands for _, _, operands in rows if "%zmm" in operands or "{%k" in operands]


def test_its_stand_in_differs_by_the_encoding_of_products_alone() -> None:
    real, tried = instructions("avxvnni"), instructions("avxvnni_evex")
    assert {first for first, name, _ in tried if name == "vpdpbusd"} == {EVEX}
    assert [name for _, name, _ in real] == [name for _, name, _ in tried]
    products = [[operands for _, name, operands in rows if name == "vpdpbusd"] for rows in (real, tried)]
    assert products[0] == products[1]
    assert EVEX not in {first for first, name, _ in tried if name != "vpdpbusd"}
