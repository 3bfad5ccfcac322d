"""Copies of the installed onnxruntime that do not see AVX-512, or AVX: dense figures of older machines.

Our own kernels take an instruction set from SPARSE_EXPORT_TARGET. onnxruntime asks the processor and has
no switch. It asks which registers the system saves (XGETBV); in a copy of its library the instruction
behind XGETBV is replaced by one that clears the bits of the AVX-512 registers (for "avx2") or of AVX's too
(for "scalar": it then computes with SSE2). Nothing that is installed is touched, and the copies stay below
build/.

``python benchmarks/avx2_runtime.py`` makes them, prints the folders for PYTHONPATH and whether it worked.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent / "build" / "older-runtimes"
#: `xgetbv; mov eax, eax`, which drops nothing.
_SEES = bytes.fromhex("0f01d0 89c0")
#: `xgetbv; and al, ...`, which drops opmask and ZMM state, or YMM state.
_BLIND = {"avx2": bytes.fromhex("0f01d0 241f"), "scalar": bytes.fromhex("0f01d0 241b")}

# onnxruntime blocks 16 channels for AVX-512 and 8 for AVX2: of 8 channels only the latter reorders the input.
_PROBE = """
import sys, pathlib, numpy as np, onnx
from onnx import TensorProto as T, helper, numpy_helper
from sparse_export.runtime.stock import Session
weight = numpy_helper.from_array(np.ones((8, 8, 3, 3), np.float32), "w")
x, y = (helper.make_tensor_value_info(n, T.FLOAT, s) for n, s in (("x", [1, 8, 9, 9]), ("y", None)))
graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [x], [y], [weight])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
Session(model.SerializeToString(), written=pathlib.Path(sys.argv[1]))
print(any(node.op_type == "ReorderInput" for node in onnx.load(sys.argv[1]).graph.node))
"""


def make(target: str = "avx2") -> Path:
    """The folder to put in front of PYTHONPATH; made once for each target and version of onnxruntime.

    Raises
    ------
    RuntimeError
        If the library of this version does not ask in the way that is known.
    """
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise RuntimeError("onnxruntime is not installed")
    from importlib.metadata import version

    package = Path(spec.origin).parent
    folder = HOME / f"{version('onnxruntime')}-{target}"
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.copytree(package, unfinished / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__"))
    (library,) = (unfinished / "onnxruntime" / "capi").glob("onnxruntime_pybind11_state*.so")
    code = library.read_bytes()
    if not 1 <= code.count(_SEES) <= 4:
        shutil.rmtree(unfinished)
        raise RuntimeError(f"onnxruntime {folder.name} asks for AVX-512 in a way not known here")
    library.write_bytes(code.replace(_SEES, _BLIND[target]))
    unfinished.rename(folder)
    return folder


def environment(target: str | None) -> dict[str, str]:
    """Variables that hold a process to an instruction set: our kernels, below AVX-512 onnxruntime's too."""
    if target is None:
        return {}
    path = {"PYTHONPATH": str(make(target))} if target in _BLIND else {}
    return {"SPARSE_EXPORT_TARGET": target} | path


def sees_avx512(extra: dict[str, str]) -> bool:
    """Whether onnxruntime, in a process with these variables, lays activations out for AVX-512."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, f"{folder}/optimized.onnx"],
            env={**os.environ, **extra},
            capture_output=True,
            text=True,
            check=True,
        )
    return done.stdout.strip() == "False"


if __name__ == "__main__":
    print(f"uses AVX-512 as installed: {sees_avx512({})}")
    for name in _BLIND:
        print(f"{make(name)}: {sees_avx512(environment(name))}")
