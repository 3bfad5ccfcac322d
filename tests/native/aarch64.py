"""The library built for aarch64 by a cross compiler, its fuzz programs run under qemu.

`python -m tests.native.aarch64 --cases 3000` is the long form (`make aarch64`), with the kernels optimised as
they are shipped; tests take the short one, which compiles in a minute: less optimised, without `scalar`,
which is the same source as on x86-64. AddressSanitizer works under qemu-user, its search for leaks does not.

Nothing here measures: an emulator's time says nothing about a processor's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .listed_targets import AARCH64

ROOT = Path(__file__).resolve().parents[2]
COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64"
LIBRARIES = Path("/usr/aarch64-linux-gnu")
#: In ascending order; the emulated processor has them all.
TARGETS = AARCH64


def missing() -> str:
    """What is not installed, or nothing."""
    lacks = [program for program in (COMPILER, EMULATOR) if shutil.which(program) is None]
    return f"no {' and no '.join(lacks)} (Debian: g++-aarch64-linux-gnu, qemu-user)" if lacks else ""


@dataclass(frozen=True)
class Build:
    """A build folder and how what is in it is compiled."""

    folder: Path
    definitions: tuple[str, ...] = ()

    def make(self, *programs: str) -> None:
        """Configure it, where that is not done, and bring the programs up to date."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path}
        settings = {
            "CMAKE_SYSTEM_NAME": "Linux",
            "CMAKE_SYSTEM_PROCESSOR": "aarch64",
            "CMAKE_CXX_COMPILER": COMPILER,
            "SPARSE_EXPORT_FUZZ": "ON",
            "SPARSE_EXPORT_DEVELOPER": "ON",
        }
        given = [*(f"{name}={value}" for name, value in settings.items()), *self.definitions]
        configure = ["cmake", "-S", str(ROOT), "-B", str(self.folder), "-G", "Ninja"]
        for command in (
            [*configure, *(f"-D{definition}" for definition in given)],
            ["cmake", "--build", str(self.folder), "--target", *programs],
        ):
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

    def run(self, program: str, target: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a program on an emulated processor that has everything, its kernels held to `target`."""
        command = [EMULATOR, "-cpu", "max", "-L", str(LIBRARIES)]
        command += [str(self.folder / "runtime" / "native" / program), *map(str, arguments)]
        variables = {"SPARSE_EXPORT_TARGET": target, "ASAN_OPTIONS": "detect_leaks=0"}
        return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)


QUICK = Build(
    ROOT / "build" / "aarch64" / "quick",
    (
        "CMAKE_CXX_FLAGS_RELEASE=-O0",
        "SPARSE_EXPORT_KERNEL_OPTIMIZATION=-O1",
        "SPARSE_EXPORT_LEAVE_OUT=scalar",
    ),
)
FULL = Build(ROOT / "build" / "aarch64" / "full")


def main() -> int:
    """Thousands of random layers on every target, and as many hostile inputs."""
    parser = argparse.ArgumentParser(description="The fuzz programs for aarch64, under qemu.")
    parser.add_argument("--cases", type=int, default=2000)
    cases = parser.parse_args().cases
    if lacks := missing():
        print(f"aarch64 is not tested: {lacks}")
        return 0
    FULL.make("random_layers", "fuzz_ops")
    runs = [("random_layers", target, cases) for target in ("reference", "scalar", *TARGETS)]
    for program, target, count in [*runs, ("fuzz_ops", TARGETS[-1], 10 * cases)]:
        done = FULL.run(program, target, count)
        print(done.stdout + done.stderr, end="", flush=True)
        if done.returncode != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
