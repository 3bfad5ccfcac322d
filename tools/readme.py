"""Fill the generated parts of README.md; write docs/results.md and docs/field.md.

Usage: python -m tools.readme [--demo FILE] [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sparse_export import formats
from tools import field_page, integer_results, results

README = Path(__file__).resolve().parents[1] / "README.md"
FIELD = README.parent / "docs" / "field.md"
RESULTS = README.parent / "docs" / "results.md"


def format_table() -> str:
    """One row a format, from the registry."""
    rows = ["| format | what it stores | operators |", "|---|---|---|"]
    for fmt in formats.all_formats():
        prefix = fmt.operator or fmt.sign_operator
        operators = f"`{prefix}Conv`, `{prefix}MatMul`" if prefix else "the model's own"
        rows.append(f"| `{fmt.name}` | {fmt.summary} | {operators} |")
    return "\n".join(rows)


def replace(text: str, name: str, content: str) -> str:
    """The text with what stands between the markers of that name replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{content}\n{end}{tail}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, help="output of the main command, to be shown as it is")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a table is out of date"
    )
    given = parser.parse_args(arguments)
    before = README.read_text()
    text = replace(before, "formats", format_table())
    text = replace(text, "results", results.highlights())
    text = replace(text, "integers", integer_results.highlights())
    if given.demo:
        text = replace(text, "demo", f"```\n{given.demo.read_text().strip()}\n```")
    pages = {README: text, RESULTS: results.page()}
    measured = results.RESULTS / "field.json"
    if measured.exists():
        pages[FIELD] = field_page.page(json.loads(measured.read_text()))
    if given.check:
        return int(any(not path.exists() or path.read_text() != page for path, page in pages.items()))
    for path, page in pages.items():
        path.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
