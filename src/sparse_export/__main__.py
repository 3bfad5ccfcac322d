"""`python -m sparse_export`, for where the script is not on the path. The script starts here too."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say in a line what it lacks: a device may have the runtime alone."""
    try:
        from .cli import main as command_line
    except ImportError as error:
        # Nothing of the command line is there that could say so.
        what = f"needs {error.name}" if error.name else f"cannot start ({error})"
        if error.name == f"{__package__}.cli":
            what = "is not in sparse-export-runtime"
        line = f"sparse-export: error: the command line {what}; try: pip install sparse-export"
        print(line, file=sys.stderr)
        sys.exit(3)
    command_line()


if __name__ == "__main__":
    main()
