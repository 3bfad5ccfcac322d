"""Sessions of ``gpu.py``: one net in onnxruntime, dense and packed, on the GPU and beside it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gpu_nets import build, cuda_provider, prune
from gpu_setting import Setting, write

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Form:
    """A way to run: which file, where its packed layers run, and whether the run is a CUDA graph."""

    name: str
    file: str
    packed: str = "auto"
    graph: bool = False


FORMS = (
    Form("dense", "dense"),
    Form("packed, expanded", "csr"),
    Form("packed on the CPU's operators beside it", "csr", packed="cpu"),
    Form("dense, CUDA graph", "dense", graph=True),
    Form("packed, expanded, CUDA graph", "csr", graph=True),
)


def run_sessions(setting: Setting) -> None:
    """VGG-11 at 90 % zeros in `sparse_export.InferenceSession`, in every form at every batch."""
    import torch

    import sparse_export
    from sparse_export.measure import machine
    from sparse_export.measure.runners import cuda

    if setting.device == "cuda":
        cuda_provider()
    document: dict[str, Any] = {"machine": {**machine.describe(), "gpu": cuda.describe()}, "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        net = Path(folder) / "vgg11.pt"
        torch.save(audible(prune(build("vgg11-cifar"), 0.9)).state_dict(), net)
        files = {form: net.with_suffix(f".{form}.onnx") for form in ("dense", "csr")}
        for form, path in files.items():
            sparse_export.export(net, format=form, output=path, arch="vgg11-cifar", verify=False)
        for batch in (1,) if setting.small else (1, 64):
            for row in rows(setting, files, batch):
                document["rows"].append({"bytes": files[row["file"]].stat().st_size, **row})
                print(document["rows"][-1], flush=True)
                write(setting, "sessions", document)


def audible(module: Any) -> Any:
    """The module with weights that pass signals on; the outputs of a new net are its last bias alone."""
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.ndim > 1:
            weight.data *= 2**0.5 / weight.data.flatten(1).norm(dim=1).mean()
    return module


def rows(setting: Setting, files: dict[str, Path], batch: int) -> list[dict[str, Any]]:
    """Milliseconds of loading and of a run with the tensors on the device, and the outputs' difference."""
    from sparse_export.runtime.timing import medians

    x = np.random.default_rng(0).standard_normal((batch, 3, 32, 32), dtype=np.float32)
    found: list[dict[str, Any]] = []
    calls, wanted = {}, None
    for form in FORMS:
        row: dict[str, Any] = {"form": form.name, "file": form.file, "batch": batch}
        found.append(row)
        try:
            begin = time.perf_counter()
            session = opened(form, files[form.file], setting.device)
            row["load_ms"] = (time.perf_counter() - begin) * 1e3
            row["providers"] = session.get_providers()
            run, output = bound(session, x, setting.device)
            run()
            y = output()
            wanted = y if wanted is None else wanted
            row["max_difference"] = float(np.abs(y - wanted).max() / np.abs(wanted).max())
            calls[len(found) - 1] = run
        except Exception as error:  # onnxruntime's own ways to fail: a row that says so
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
    taken = medians(list(calls.values()), rounds=1 if setting.small else 9, seconds=0.1)
    for at, seconds in zip(calls, taken, strict=True):
        found[at]["ms"] = seconds * 1e3
    return found


def opened(form: Form, path: Path, device: str) -> Any:
    """The session of a form; on the CPU the GPU's provider is left out."""
    import sparse_export

    if device == "cpu":
        if form.graph:
            raise RuntimeError("a CUDA graph needs an NVIDIA GPU")
        return sparse_export.InferenceSession(path, threads=4, packed=form.packed)  # type: ignore[arg-type]
    gpu = ("CUDAExecutionProvider", {"enable_cuda_graph": "1"} if form.graph else {})
    session = sparse_export.InferenceSession(
        path,
        providers=[gpu, "CPUExecutionProvider"],
        threads=4,
        packed=form.packed,  # type: ignore[arg-type]
    )
    if gpu[0] not in session.get_providers():
        raise RuntimeError("onnxruntime could not use the GPU")
    return session


def bound(session: Any, x: Array, device: str) -> tuple[Any, Any]:
    """A run on tensors that lie on the device, and what reads its output; a CUDA graph takes no others."""
    from onnxruntime import OrtValue

    given = OrtValue.ortvalue_from_numpy(x, device, 0)
    shape = [len(x), *session.get_outputs()[0].shape[1:]]
    result = OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, given)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, result)
    return partial(session.run_with_iobinding, binding), result.numpy
