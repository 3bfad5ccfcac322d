"""Every derived file anew, or with --check: whether each is current.

Usage: python -m tools.generate [--check]. Exit code 1 names what is stale.
"""

from __future__ import annotations

import argparse
import sys

from tools import operators, picture, readme, sizes
from tools.goldens import formats as golden_formats
from tools.goldens import operators as golden_operators

#: What makes derived files; each takes --check.
MAKERS = {
    "README.md, docs/results.md, docs/field.md": readme.main,
    "docs/operators.md": operators.main,
    "docs/figures/demo-*.svg": picture.main,
    "tests/golden/*.safetensors": golden_formats.main,
    "tests/golden/onnx": golden_operators.main,
    "tests/regression/sizes.csv": sizes.main,
}


def main() -> int:
    """Exit code: 1 where something is stale and only a check was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if anything is stale")
    check = parser.parse_args().check
    stale = [what for what, make in MAKERS.items() if make(["--check"] if check else []) != 0]
    for what in stale:
        print(f"stale: {what} (run: make generate)")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
