"""Files to publish: `python -m tools.wheels [--output dist]`, or `make wheels` with the smoke test behind it.

From one build of this tree come two wheels that share the package's folder and no file:

- ``sparse-export-runtime``: the operator library, sessions and errors. Needs numpy and onnxruntime; for
  devices that only run packed files. It alone depends on the platform, and comes for x86-64 and aarch64.
- ``sparse-export``: everything else, pure Python; needs the runtime of exactly its version.

The source archive, and `pip install .`, hold both in one. The library is built so that it asks for no newer
C++ runtime than manylinux_2_17 has (`COMPATIBLE`); auditwheel has the last word.
"""

from __future__ import annotations

import argparse
import email
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from tools import wheel_aarch64

ROOT = Path(__file__).resolve().parents[1]
FLOOR = "manylinux_2_17"
MAXIMUM_BYTES = 2_000_000
RUNTIME_FILES = ("__init__.py", "__main__.py", "errors.py", "text.py", "py.typed", "runtime")
RUNTIME_NEEDS = ("numpy>=1.26", "onnxruntime>=1.20")
RUNTIME_SUMMARY = (
    "Run files packed by sparse-export on their packed bytes: native onnxruntime operators, sessions."
)
#: What newer compilers call in the C++ runtime and older ones lack: the failure of an oversized allocation
#: as a function of its own (GCC 11), and freeing by size.
COMPATIBLE = "-D__throw_bad_array_new_length=__throw_bad_alloc -fno-sized-deallocation"


@dataclass(frozen=True)
class Built:
    """The files of a release."""

    runtime: Path
    aarch64: Path
    package: Path
    source: Path


def run(*words: str | Path) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder: Path) -> Path:
    """The wheel of everything, as `pip install .` makes it, its library stripped and fit for old systems."""
    define = [f"cmake.define.CMAKE_CXX_FLAGS={COMPATIBLE}", "cmake.define.CMAKE_SHARED_LINKER_FLAGS=-s"]
    settings = [word for setting in [*define, "build-dir=build/wheels/here"] for word in ("-C", setting)]
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps")
    run(*pip, "--no-build-isolation", "--wheel-dir", folder, *settings, ".")
    (made,) = folder.glob("*.whl")
    return made


def split(whole: Path, output: Path) -> tuple[Path, Path, Path]:
    """The runtime's wheel, here and for aarch64, and the rest's, of a wheel of everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "wheel", "unpack", "--dest", folder, whole)
        (tree,) = folder.iterdir()
        (info,) = tree.glob("*.dist-info")
        version = info.name.removesuffix(".dist-info").rpartition("-")[2]
        runtime = folder / f"sparse_export_runtime-{version}"
        (runtime / "sparse_export").mkdir(parents=True)
        for part in RUNTIME_FILES:
            shutil.move(tree / "sparse_export" / part, runtime / "sparse_export" / part)
        runtime_info = runtime / f"{runtime.name}.dist-info"
        shutil.copytree(info, runtime_info)
        describe_runtime(runtime_info)
        metadata = read(info / "METADATA")
        metadata["Requires-Dist"] = f"sparse-export-runtime=={version}"
        (info / "METADATA").write_text(metadata.as_string())
        retag(info, "py3-none-any")
        made = pack(runtime, output)
        (library,) = (runtime / "sparse_export" / "runtime").glob("*.so")
        shutil.copy(wheel_aarch64.library(FLOOR.removeprefix("manylinux_").replace("_", ".")), library)
        retag(runtime_info, "py3-none-linux_aarch64")
        return made, pack(runtime, output), pack(tree, output)


def read(path: Path) -> Message:
    """A file of `Name: value` lines with a body."""
    return email.message_from_string(path.read_text())


def describe_runtime(info: Path) -> None:
    """Make the description of everything that of the runtime alone."""
    metadata = read(info / "METADATA")
    for name in ("Name", "Summary", "Requires-Dist", "Provides-Extra"):
        del metadata[name]
    metadata["Name"] = "sparse-export-runtime"
    metadata["Summary"] = RUNTIME_SUMMARY
    for need in RUNTIME_NEEDS:
        metadata["Requires-Dist"] = need
    metadata.set_payload((ROOT / "docs" / "deployment.md").read_text())
    (info / "METADATA").write_text(metadata.as_string())
    entry = "[console_scripts]\nsparse-export-ops-path = sparse_export.runtime.__main__:main\n"
    (info / "entry_points.txt").write_text(entry)


def retag(info: Path, tag: str) -> None:
    """Set the tag of an unpacked wheel. Both stay in the platform's folder: a package must not lie in two."""
    text = (info / "WHEEL").read_text()
    (info / "WHEEL").write_text(re.sub(r"^Tag: .*(\nTag: .*)*", f"Tag: {tag}", text, flags=re.MULTILINE))


def pack(tree: Path, output: Path) -> Path:
    """The wheel of an unpacked tree."""
    said = run(sys.executable, "-m", "wheel", "pack", "--dest-dir", output, tree)
    name: str = re.findall(r"\S+\.whl", said)[-1]
    return output / Path(name).name


def audited(wheel: Path) -> Path:
    """The wheel under the tag of the oldest systems it runs on.

    Raises
    ------
    SystemExit
        If auditwheel finds that it needs newer ones than `FLOOR`.
    """
    said = run(sys.executable, "-m", "auditwheel", "show", wheel)
    if f'"{FLOOR}_' not in said:
        raise SystemExit(f"{wheel.name} does not run on {FLOOR}:\n{said}")
    machine = re.findall(rf'"{FLOOR}_(\w+)"', said)[0]
    tag = f"{FLOOR}_{machine}"
    named = run(sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tag, wheel)
    return wheel.with_name(named.split()[-1])


def source(output: Path) -> Path:
    """The source archive."""
    code = f"import scikit_build_core.build as b; print(b.build_sdist({str(output)!r}))"
    return output / run(sys.executable, "-c", code).split()[-1]


def main() -> int:
    """Build, split, audit; print each file with its size."""
    parser = argparse.ArgumentParser(description="The files to publish.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    output = parser.parse_args().output.resolve()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        runtime, aarch64, package = split(build(Path(folder)), output)
    built = Built(audited(runtime), audited(aarch64), package, source(output))
    for path in (built.runtime, built.aarch64, built.package, built.source):
        print(f"{path.stat().st_size:>12,}  {path.name}")
    for path in (built.runtime, built.aarch64):
        if path.stat().st_size > MAXIMUM_BYTES:
            raise SystemExit(f"{path.name} is larger than {MAXIMUM_BYTES:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
