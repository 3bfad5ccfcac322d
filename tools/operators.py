"""Fill the generated table of docs/operators.md from the registry of formats.

Usage: python -m tools.operators [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparse_export import formats
from tools.readme import replace

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"


def operator_table() -> str:
    """One row a format that has operators: names, components in the order of the inputs."""
    rows = ["| operators | format | components, between X and scale | kernels |", "|---|---|---|---|"]
    for fmt in formats.all_formats():
        prefixes = [prefix for prefix in (fmt.operator, fmt.sign_operator) if prefix]
        if not prefixes:
            continue
        names = ", ".join(f"`{prefix}Conv*`, `{prefix}MatMul*`" for prefix in prefixes)
        components = ", ".join(f"`{name}`" for name in fmt.operator_inputs)
        kernels = "native" if fmt.kernels else "expanded at load"
        rows.append(f"| {names} | `{fmt.name}` | {components} | {kernels} |")
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Write the table, or say whether it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it is out of date")
    before = PAGE.read_text()
    text = replace(before, "operators", operator_table())
    if parser.parse_args(arguments).check:
        return int(text != before)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
