"""`python -m sparse_export.runtime` prints the path of the operator library, for other languages."""

from __future__ import annotations

import sys

from ..errors import MissingDependencyError
from .library import library_path


def main() -> int:
    """Print the path; the exit code is 3 where there is no library."""
    try:
        print(library_path())
    except MissingDependencyError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
