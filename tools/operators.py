"""Fill the generated tables of docs/operators.md: formats, kinds of layers, and what an epilogue does.

Usage: python -m tools.operators [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from sparse_export import formats
from sparse_export.exporter.graph.activations import ACTIVATIONS
from sparse_export.exporter.rewrite.layer_kinds import INTEGERS, LAYERS
from tools.readme import replace

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
SOURCES = PAGE.parents[1] / "runtime" / "native" / "kernels" / "rows" / "sources.def"


def operator_table() -> str:
    """One row a format that has operators: names, components in the order of the inputs."""
    rows = ["| operators | format | components, between X and scale | kernels |", "|---|---|---|---|"]
    decoded = set(re.findall(r'^SPARSE_EXPORT_SOURCE\(\w+, "(\w+)"', SOURCES.read_text(), re.MULTILINE))
    for fmt in formats.all_formats():
        prefixes = [prefix for prefix in (fmt.operator, fmt.sign_operator) if prefix]
        if not prefixes:
            continue
        names = ", ".join(f"`{prefix}Conv*`, `{prefix}MatMul*`" for prefix in prefixes)
        components = ", ".join(f"`{name}`" for name in fmt.operator_inputs)
        once = "csr's, of rows decoded once" if fmt.operator in decoded else "none: expanded at load"
        kernels = "native" if fmt.kernels else once
        rows.append(f"| {names} | `{fmt.name}` | {components} | {kernels} |")
    return "\n".join(rows)


def layer_table() -> str:
    """One row a kind of layer: shapes and attributes."""
    rows = ["| layer | X | Y | attributes beside `shape` |", "|---|---|---|---|"]
    for name, kind in LAYERS.items():
        attributes = ", ".join(f"`{attribute}`" for attribute in kind.attributes)
        rows.append(f"| `{name}`, `{INTEGERS}{name}` | {kind.x} | {kind.y} | {attributes or 'none'} |")
    return "\n".join(rows)


def suffix_table() -> str:
    """One row a suffix: what is fused behind the layer."""
    added = ", ".join(f"`Add{suffix}`" for suffix in ("", *ACTIVATIONS))
    rows = [
        "| suffix | last inputs | result |",
        "|---|---|---|",
        "| none | `scale`, `bias` | `layer(X, W) * scale + bias` |",
        *(f"| `{suffix}` | `scale`, `bias` | `{one.result}` |" for suffix, one in ACTIVATIONS.items()),
        f"| {added} (Conv) | `scale`, `bias`, `Z` | `… + Z`, then the same; Z has the shape of Y, and Y may "
        "take its memory |",
        "| `Sign` (Xnor*) | `scale`, `bias` | packed signs of the result |",
    ]
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Write the tables, or say whether they are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it is out of date")
    before = PAGE.read_text()
    text = before
    for name, table in (("operators", operator_table), ("layers", layer_table), ("suffixes", suffix_table)):
        text = replace(text, name, table())
    if parser.parse_args(arguments).check:
        return int(text != before)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
