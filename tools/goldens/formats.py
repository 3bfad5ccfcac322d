"""Golden files for examples that have none yet; never rewrites one: `python -m tools.goldens.formats`."""

from __future__ import annotations

import json
from pathlib import Path

from sparse_export import formats
from sparse_export.exporter.files.container.header import DTYPE_NAMES
from sparse_export.formats.base import as_bits
from sparse_export.formats.parts import packed_file

HERE = Path(__file__).resolve().parents[2] / "tests" / "golden"
EXPECTED = HERE / "expected.json"


def main() -> None:
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    for fmt in formats.all_formats():
        for name, array in fmt.examples():
            path = HERE / f"{fmt.name}-{name}-v{fmt.version}.safetensors"
            if path.exists():
                continue
            path.write_bytes(packed_file.dump(fmt.pack(array)))
            bits = as_bits(array).tobytes().hex()
            expected[path.name] = [DTYPE_NAMES[array.dtype], list(array.shape), bits]
            print(path.name)
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(expected.items())]
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
