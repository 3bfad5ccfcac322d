"""A copy of the installed onnxruntime that does not see AVX-512: dense figures of an AVX2 machine, on any.

Our own kernels take an instruction set from SPARSE_EXPORT_TARGET. onnxruntime asks the processor and has
no switch. It asks which registers the system saves (XGETBV); in a copy of its library the instruction
behind XGETBV is replaced by one that clears the bits of the AVX-512 registers. Nothing that is installed
is touched, and the copy stays below build/.

``python benchmarks/avx2_runtime.py`` makes the copy, prints the folder for PYTHONPATH and whether it
worked.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent / "build" / "avx2-runtime"
#: `xgetbv; mov eax, eax`, which drops nothing, and `xgetbv; and al, 0x1f`, which drops opmask and ZMM state.
_SEES, _BLIND = bytes.fromhex("0f01d0 89c0"), bytes.fromhex("0f01d0 241f")

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


def make() -> Path:
    """The folder to put in front of PYTHONPATH; made once for each version of onnxruntime.

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
    folder = HOME / version("onnxruntime")
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.copytree(package, unfinished / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__"))
    (library,) = (unfinished / "onnxruntime" / "capi").glob("onnxruntime_pybind11_state*.so")
    code = library.read_bytes()
    if not 1 <= code.count(_SEES) <= 4:
        shutil.rmtree(unfinished)
        raise RuntimeError(f"onnxruntime {folder.name} asks for AVX-512 in a way not known here")
    library.write_bytes(code.replace(_SEES, _BLIND))
    unfinished.rename(folder)
    return folder


def environment(target: str | None) -> dict[str, str]:
    """Variables that hold a process to an instruction set: our kernels, and for AVX2 onnxruntime's too."""
    if target is None:
        return {}
    path = {} if target.startswith("avx512") else {"PYTHONPATH": str(make())}
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
    print(make())
    print(f"uses AVX-512: as installed {sees_avx512({})}, the copy {sees_avx512(environment('avx2'))}")
