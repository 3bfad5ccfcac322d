"""Instructions of the inner loops, per multiply-add and target: `python benchmarks/instructions.py BUILD...`.

Each folder is a build of the library without sanitizers (`cmake -S . -B BUILD`), for any processor whose
disassembler is here. Of every kernel the loop that is the most arithmetic is taken, and all that
stands in it is counted: arithmetic, loads, addresses and the branch. Counts say how much work a processor
is given; how long it takes, they do not say, and no emulator does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: By kernel and target: what does the arithmetic, and how many multiply-adds it is.
WORK = {
    ("f32_csr", "avx512"): (r"vfmadd\w+ps.*%zmm", 16),
    ("f32_csr", "avx2"): (r"vfmadd\w+ps.*%ymm", 8),
    ("f32_csr", "scalar"): (r"mulps|fmla\tv", 4),
    ("f32_csr", "neon"): (r"fmla\tv", 4),
    ("f32_codes", "avx512"): (r"vpermps.*%zmm", 64),
    ("f32_codes", "avx2"): (r"vpermps.*%ymm", 32),
    ("f32_codes", "scalar"): (r"mulps|fmla\tv", 4),
    ("f32_codes", "neon"): (r"fmla\tv", 4),
    ("f32_masked", "avx512"): (r"vfmadd\w+ps.*%zmm", 16),
    ("f32_masked", "avx2"): (r"vfmadd\w+ps.*%ymm", 8),
    ("f32_masked", "neon"): (r"fmla\tv", 4),
    ("bit_bit", "avx512vnni"): (r"vpopcntq.*%zmm", 512),
    ("bit_bit", "avx512"): (r"vpsadbw.*%zmm", 512),
    ("bit_bit", "avx2"): (r"vpsadbw.*%ymm", 256),
    ("bit_bit", "neon"): (r"cnt\tv", 128),
    ("bit_bit", "neondot"): (r"cnt\tv", 128),
    ("bit_bit", "neonsha3"): (r"cnt\tv", 128),
    ("s8_csr", "avx512vnni"): (r"vpdpbusd.*%zmm", 64),
    ("s8_csr", "avx512"): (r"vpmaddwd.*%zmm", 32),
    ("s8_csr", "avx2"): (r"vpmaddwd.*%ymm", 16),
    ("s8_csr", "neon"): (r"addp\tv", 16),
    ("s8_csr", "neondot"): (r"sdot\tv", 16),
    ("s8_csr", "neoni8mm"): (r"usdot\tv", 16),
}
#: Arithmetic instructions of a loop that counts.
LEAST = 8
DISASSEMBLERS = {"AArch64": "aarch64-linux-gnu-objdump", "Advanced Micro Devices X86-64": "objdump"}


def instructions(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Addresses and texts of the instructions of an object file, section by section."""
    header = subprocess.run(["readelf", "-h", path], capture_output=True, text=True, check=True).stdout
    machine = re.search(r"Machine:\s+(.*)", header)
    program = DISASSEMBLERS[machine[1].strip()] if machine else ""
    if not shutil.which(program):
        raise SystemExit(f"no {program}: it comes with the compiler for {path}")
    command = [program, "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for section in text.split("Disassembly of section")[1:]:
        found = re.findall(r"^\s+([0-9a-f]+):\t(.*)$", section, re.MULTILINE)
        yield [(int(address, 16), words) for address, words in found]


def loops(path: Path) -> Iterator[list[str]]:
    """From the target of each jump back to the jump."""
    for section in instructions(path):
        index = {address: i for i, (address, _) in enumerate(section)}
        for i, (_, words) in enumerate(section):
            jump = re.match(r"(?:b\.\w+|cbn?z|tbn?z|j\w+|b)\s.*?([0-9a-f]+) <", words)
            start = index.get(int(jump[1], 16)) if jump else None
            if start is not None and start <= i:
                yield [words for _, words in section[start : i + 1]]


def count(path: Path, pattern: str, each: int) -> tuple[int, int]:
    """Instructions and multiply-adds of the loop in which the fewest stand beside the arithmetic."""
    counted = ((sum(bool(re.search(pattern, words)) for words in loop), loop) for loop in loops(path))
    enough = (pair for pair in counted if pair[0] >= LEAST)
    work, loop = max(enough, key=lambda pair: pair[0] / len(pair[1]), default=(0, []))
    return len(loop), work * each


def main() -> int:
    """A line of a Markdown table for each kernel and target of each build."""
    print("| kernel | target | instructions | multiply-adds | per multiply-add |\n|---|---|---:|---:|---:|")
    for folder in map(Path, sys.argv[1:]):
        for path in sorted(folder.glob("runtime/native/CMakeFiles/*/kernels/*/*.o")):
            kernel, _, target = path.parents[2].name.removesuffix(".dir").rpartition("_")
            if (kernel, target) in WORK:
                total, work = count(path, *WORK[kernel, target])
                print(f"| `{kernel}` | `{target}` | {total} | {work} | {total / max(work, 1):.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
