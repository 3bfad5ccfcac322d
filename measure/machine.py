"""What the figures were measured on: processor, instruction sets, memory, versions, affinity."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: Instruction sets that decide which kernel runs; the full flag list would bury them.
_TELLING_FLAGS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx_vnni", "avx512_bf16", "avx512_vpopcntdq", "avx512_fp16", "amx_tile", "asimd", "asimddp", "sve"),
)
_PACKAGES = ("sparse-export", "onnxruntime", "onnxruntime-gpu", "onnx", "torch", "openvino", "numpy")


def cpu_model() -> tuple[str, list[str]]:
    """Name of the processor and those of its flags that matter here."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return name, []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in {"flags", "Features"}:
            flags = set(value.split())
            break
    return name, [flag for flag in _TELLING_FLAGS if flag in flags]


def pinned_cpus(threads: int) -> list[int]:
    """CPUs for that many threads: one a physical core first, from the last core down.

    The first core serves most interrupts, so it is taken last. Fewer CPUs than threads: all of them.
    """
    allowed = sorted(os.sched_getaffinity(0), reverse=True)
    seen: set[str] = set()
    firsts: list[int] = []
    siblings: list[int] = []
    for cpu in allowed:
        try:
            core = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            core = str(cpu)
        (siblings if core in seen else firsts).append(cpu)
        seen.add(core)
    return sorted((firsts + siblings)[:threads])


def package_versions() -> dict[str, str]:
    """Installed versions of everything that can be measured."""
    found = {"python": platform.python_version()}
    runtimes = []
    for package in _PACKAGES:
        try:
            installed = distribution(package)
        except PackageNotFoundError:
            continue
        if package.startswith("onnxruntime"):
            runtimes.append((package, installed))
        else:
            found[package] = installed.version
    # A copy of the package, in front of the path, belongs to none.
    imported = [one for one in runtimes if _is_imported(one[1])] or runtimes
    return found | {package: installed.version for package, installed in imported}


def _is_imported(runtime: Distribution) -> bool:
    """Whether `import onnxruntime` means this build of it: one for GPUs has a distribution of its own."""
    spec = find_spec("onnxruntime")
    origin = spec.origin if spec else None
    return origin is not None and Path(str(runtime.locate_file("onnxruntime/__init__.py"))) == Path(origin)


def describe() -> dict[str, Any]:
    """The machine as JSON: date (UTC), processor and its flags, memory, system, versions, load."""
    name, flags = cpu_model()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": name,
        "flags": flags,
        "cpus": os.cpu_count() or 1,
        "allowed_cpus": sorted(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "architecture": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "versions": package_versions(),
        "target": os.environ.get("SPARSE_EXPORT_TARGET") or "auto",
        "load_at_start": round(os.getloadavg()[0], 2),
    }
