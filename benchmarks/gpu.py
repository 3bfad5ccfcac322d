"""Every GPU path on a bare machine: ``python3 benchmarks/gpu.py`` or ``make gpu``, under eight minutes.

Needs an NVIDIA GPU and a python3 with torch and numpy; nothing is installed, built or fetched. The package is
found in this tree. Each section is a process of its own with a share of the time: what is missing, fails or
takes too long costs that section alone and is recorded with its reason. Figures go to
``results/gpu-*.json`` (``--output`` names another folder) as soon as a section ends, each with a description
of the machine; ``gpu-run.json`` says how every section ended. Weights are random, pruned by magnitude or in
a 2:4 pattern: speed depends on the pattern, not on the values.

Without a GPU it says so and ends with code 0. ``--device cpu`` goes through the same steps there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FOLDERS = ("cli", "exporter", "formats", "measure", "runtime", "training")


@dataclass(frozen=True)
class Section:
    """A part of the run: its name, the most seconds it may take, and what it does in a word."""

    name: str
    seconds: float
    purpose: str


#: In the order of their worth: what the time does not reach is the least missed.
SECTIONS = (
    Section("tests", 100, "the tests marked gpu"),
    Section("layers", 60, "one linear layer, dense and sparse"),
    Section("vgg11", 190, "VGG-11 at 90 % zeros in every variant"),
    Section("vit", 190, "ViT-B/16 with 2:4 linear layers"),
    Section("onnxruntime", 60, "dense and packed ONNX in the CUDA provider"),
    Section("sessions", 40, "where packed layers run beside a GPU, CUDA graphs"),
    Section("resnet50", 90, "ResNet-50 at 90 % zeros"),
)


@dataclass
class Ended:
    """How a section ended: done, partly (stopped by the clock), failed, skipped; seconds; the reason."""

    name: str
    status: str
    seconds: float = 0.0
    reason: str | None = None


def say(text: str) -> None:
    """Progress, at once: the output of a remote machine is read while it runs."""
    print(text, flush=True)


def link_tree(folder: Path) -> Path:
    """A folder in which the package lies as it is installed, by links to this tree."""
    package = folder / "sparse_export"
    package.mkdir(parents=True, exist_ok=True)
    sources = [*(ROOT / "src" / "sparse_export").glob("*.py"), *(ROOT / name for name in FOLDERS)]
    for source in sources:
        link = package / source.name
        if not link.exists():
            link.symlink_to(source)
    return folder


def environment(tree: Path) -> dict[str, str]:
    """The environment of a section: this tree's package in front, caches of compilation shared by all."""
    paths = [str(tree), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(tree / "inductor"),
    }


def run_section(section: Section, words: Sequence[str], env: dict[str, str], seconds: float) -> Ended:
    """One section in a process; at its time it is asked to end with what it has, then made to."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "gpu_sections", section.name, *words]
    process = subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True)
    stopped = False
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        stopped = True
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return _ended(section.name, code, stopped, time.monotonic() - begin, Path(words[0]), seconds)


def _ended(name: str, code: int, stopped: bool, took: float, output: Path, seconds: float) -> Ended:
    """What the process left behind, read: its reason file, its code, whether the clock stopped it."""
    note = output / f".{name}.reason"
    reason = note.read_text().strip() if note.is_file() else None
    note.unlink(missing_ok=True)
    if stopped:
        return Ended(name, "partly", round(took, 1), f"stopped after {seconds:.0f} s")
    if code == 0:
        return Ended(name, "skipped" if reason else "done", round(took, 1), reason)
    ended = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return Ended(name, "failed", round(took, 1), reason or ended)


def why_not(device: str, env: dict[str, str]) -> str | None:
    """Why nothing can be measured here, or None; asked of a process, because importing torch may crash."""
    if device == "cpu":
        return None
    code = (
        "from sparse_export.measure.runners import cuda\n"
        "from sparse_export.errors import MissingDependencyError\n"
        "try: cuda.require_gpu()\n"
        "except MissingDependencyError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        return f"the package cannot be imported by {sys.executable}: {lines[-1]}"
    return done.stdout.strip() or None


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    names = [section.name for section in SECTIONS]
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the figures")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these sections")
    parser.add_argument("--minutes", type=float, default=7.5, help="when the last section ends at the latest")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: the steps alone")
    parser.add_argument("--small", action="store_true", help="small nets, one round: the steps alone")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; 0 unless one failed."""
    given = options(arguments)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sparse-export-gpu-") as folder:
        env = environment(link_tree(Path(folder)))
        reason = why_not(given.device, env)
        if reason:
            say(f"no GPU here: {reason}")
            return 0
        given.output.mkdir(parents=True, exist_ok=True)
        words = [str(given.output.resolve()), given.device, *(["--small"] if given.small else [])]
        ended: list[Ended] = []
        for section in (s for s in SECTIONS if s.name in given.only):
            left = given.minutes * 60 - (time.monotonic() - begin) - 5
            say(f"== {section.name}: {section.purpose} ({left:.0f} s left)")
            if left < 20:
                ended.append(Ended(section.name, "skipped", reason="no time left"))
            else:
                ended.append(run_section(section, words, env, min(section.seconds, left - 15)))
            say(f"== {section.name}: {ended[-1].status}, {ended[-1].reason or f'{ended[-1].seconds:.0f} s'}")
            _write_run(given.output, ended)
    return int(any(one.status == "failed" for one in ended))


def _write_run(output: Path, ended: list[Ended]) -> None:
    """How the sections ended so far and the state of the GPU now, beside the figures."""
    document = {"gpu": gpu_state(), "sections": [asdict(one) for one in ended]}
    (output / "gpu-run.json").write_text(json.dumps(document, indent=1) + "\n")


def gpu_state() -> dict[str, str]:
    """What nvidia-smi says of clocks, power and temperature; nothing where it is not installed."""
    fields = ("name", "driver_version", "clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    line = (done.stdout.splitlines() or [""])[0]
    return dict(zip(fields, (value.strip() for value in line.split(",")), strict=False))


if __name__ == "__main__":
    sys.exit(main())
