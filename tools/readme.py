"""Fill the generated parts of README.md: the format table, measured results, and the demo's real output.

Usage: python -m tools.readme [--demo FILE] [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparse_export import formats
from tools import results

README = Path(__file__).resolve().parents[1] / "README.md"


def format_table() -> str:
    """One row a format, from the registry."""
    rows = ["| format | what it stores | operators |", "|---|---|---|"]
    for fmt in formats.all_formats():
        operators = f"`{fmt.operator}Conv`, `{fmt.operator}MatMul`" if fmt.operator else "the model's own"
        rows.append(f"| `{fmt.name}` | {fmt.summary} | {operators} |")
    return "\n".join(rows)


def replace(text: str, name: str, content: str) -> str:
    """The text with what stands between the markers of that name replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{content}\n{end}{tail}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, help="output of the main command, to be shown as it is")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a table is out of date"
    )
    arguments = parser.parse_args()
    before = README.read_text()
    text = replace(before, "formats", format_table())
    text = replace(text, "results", results.render())
    if arguments.demo:
        text = replace(text, "demo", f"```\n{arguments.demo.read_text().strip()}\n```")
    if arguments.check:
        return int(text != before)
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
