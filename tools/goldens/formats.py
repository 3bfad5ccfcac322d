"""Golden files for examples that have none yet; never rewrites one.

Usage: python -m tools.goldens.formats [--check].
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sparse_export import formats
from sparse_export.exporter.files.container.header import DTYPE_NAMES
from sparse_export.formats.base import as_bits
from sparse_export.formats.parts import packed_file

HERE = Path(__file__).resolve().parents[2] / "tests" / "golden"
EXPECTED = HERE / "expected.json"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 1 where a file is missing and only a check was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is missing")
    check = parser.parse_args(arguments).check
    missing = 0
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    for fmt in formats.all_formats():
        for name, array in fmt.examples():
            path = HERE / f"{fmt.name}-{name}-v{fmt.version}.safetensors"
            if path.exists():
                continue
            missing += 1
            if check:
                print(f"missing: tests/golden/{path.name}")
                continue
            path.write_bytes(packed_file.dump(fmt.pack(array)))
            bits = as_bits(array).tobytes().hex()
            expected[path.name] = [DTYPE_NAMES[array.dtype], list(array.shape), bits]
            print(path.name)
    if check:
        return int(missing > 0)
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(expected.items())]
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
