"""Whether imports go one way: `python -m tools.imports` checks it.

The contract stands in pyproject.toml, and there may be no circle. import-linter looks at the package as it is
installed. In the tree its folders lie apart, and the finder of an editable install leads to the tree as a
whole, so the contract is checked on a copy laid out as installed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("cli", "exporter", "formats", "measure", "runtime", "training")


def lay_out(folder: Path) -> None:
    """Copy the package's modules to `folder`/sparse_export."""
    package = folder / "sparse_export"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "src" / "sparse_export", package)
    for room in ROOMS:
        modules = (ROOT / room).rglob("*.py")
        for path in modules:
            target = package / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def circle(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """Modules that import each other in a circle, the first at both ends; empty where there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1][::-1])
    return []


def main() -> int:
    """Exit code: 0 when every import goes the way of the contract and none leads back."""
    import grimp
    from importlinter.cli import lint_imports

    folder = ROOT / "build" / "imports"
    lay_out(folder)
    sys.meta_path[:] = [finder for finder in sys.meta_path if "scikit" not in type(finder).__name__.lower()]
    sys.path.insert(0, str(folder))
    result: int = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    graph = grimp.build_graph("sparse_export", cache_dir=None)
    found = circle({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    if found:
        print(f"A circle of imports: {' -> '.join(found)}")
    return result or int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
