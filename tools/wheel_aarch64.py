"""The operators for aarch64: compiled by zig against the C library of manylinux_2_17, tried under qemu.

zig, a Python package, is a clang that knows the symbols of every glibc, and brings a C++ runtime that is
linked statically; so the floor is what it is asked for, and auditwheel confirms it. The smoke test takes the
aarch64 onnxruntime from its own wheel and runs the C++ program of the README in it, on processors with
different instruction sets. qemu and Debian's cross compiler (its headers and C library, to link and run that
program) are needed for the test alone; where they are missing it says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = Path("/usr/aarch64-linux-gnu")
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
#: Processors of qemu: without the dot products, with them, with everything.
PROCESSORS = ("cortex-a53", "neoverse-n1", "max")
#: onnxruntime asks this file which processor it is on, and crashes when it is told of another architecture.
CPUINFO = (
    "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n\n"
)
ONNXRUNTIME_PLATFORMS = ("manylinux_2_27_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64")


def run(*words: str | Path, path: Path | None = None) -> str:
    """What a command prints; it must succeed. `path` comes before the programs that are found."""
    environment = os.environ | ({"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else {})
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def library(glibc: str) -> Path:
    """The library, compiled for systems that have at least this glibc ("2.17")."""
    folder = ROOT / "build" / "wheels" / "aarch64"
    folder.mkdir(parents=True, exist_ok=True)
    compiler = folder / "c++"
    compiler.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m ziglang c++ -target aarch64-linux-gnu.{glibc} "$@"\n'
    )
    compiler.chmod(0o755)
    settings = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_CXX_COMPILER": compiler,
        "CMAKE_SHARED_LINKER_FLAGS": "-s",
    }
    programs = Path(sys.executable).parent
    definitions = [f"-D{name}={value}" for name, value in settings.items()]
    run("cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *definitions, path=programs)
    run("cmake", "--build", folder, "--target", "sparse_export_ops", path=programs)
    return folder / "runtime" / "native" / "libsparse_export_ops.so"


def onnxruntime(folder: Path) -> Path:
    """The shared library of the newest aarch64 onnxruntime, under the name it gives itself."""
    platforms = [word for platform in ONNXRUNTIME_PLATFORMS for word in ("--platform", platform)]
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    run(*pip, "--only-binary=:all:", *platforms, "--dest", folder, "onnxruntime")
    (wheel,) = folder.glob("onnxruntime-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if re.search(r"/libonnxruntime\.so\.[0-9.]+$", n))
        content = archive.read(name)
    soname = re.search(rb"libonnxruntime\.so\.[0-9]+", content)
    assert soname, name
    path = folder / soname.group().decode()
    path.write_bytes(content)
    return path


def system(folder: Path) -> Path:
    """What stands for the root directory: the cross compiler's libraries, and an aarch64 processor."""
    (folder / "proc").mkdir(parents=True)
    (folder / "proc" / "cpuinfo").write_text(CPUINFO)
    (folder / "lib").symlink_to(LIBRARIES / "lib")
    return folder


def missing() -> str:
    """What the smoke test lacks, or nothing."""
    return ", ".join(program for program in (COMPILER, EMULATOR) if shutil.which(program) is None)


def smoke(wheel: Path, model: Path, expected: float) -> None:
    """Run a model whose functions are gone, so that nothing but the wheel's operators can, in onnxruntime.

    Parameters
    ----------
    wheel
        The runtime's wheel for aarch64.
    model
        A packed model that takes the "input" of the README's program.
    expected
        The first number of its output for zeros.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(wheel) as archive:
            archive.extract("sparse_export/runtime/libsparse_export_ops.so", folder)
        ops = folder / "sparse_export" / "runtime" / "libsparse_export_ops.so"
        linked = onnxruntime(folder)
        source = ROOT / "tests" / "runtime" / "cpp"
        flags = ("-std=c++17", f"-I{source / 'include'}", f"-Wl,-rpath,{folder}")
        program = folder / "load_model"
        run(COMPILER, *flags, source / "load_model.cpp", linked, "-o", program)
        root = system(folder / "root")
        for processor in PROCESSORS:
            said = run(EMULATOR, "-cpu", processor, "-L", root, program, model, ops)
            if abs(float(said) - expected) > 1e-5:
                raise SystemExit(f"{wheel.name} on {processor} computes {said.strip()}, not {expected}")
            print(f"runs with the aarch64 {linked.name} on an emulated {processor}")
