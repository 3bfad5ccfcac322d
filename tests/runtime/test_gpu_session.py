"""On a real GPU: packed layers are expanded there, CUDA graphs work, `packed="cpu"` insists."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import sparse_export
from sparse_export.measure.runners import cuda
from sparse_export.runtime import inference

from ..measure.small_models import chain
from .profiles import profiled

GPU, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
X = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or GPU not in onnxruntime.get_available_providers(),
        reason="needs an NVIDIA GPU and onnxruntime's CUDA provider",
    ),
]


@pytest.fixture(scope="module", params=["csr", "split", "bitmask"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dense file and a packed one of it."""
    cuda.preload()
    source = chain(tmp_path_factory.mktemp(request.param) / "chain.onnx", density=0.2)
    packed = source.with_suffix(".packed.onnx")
    sparse_export.export(source, format=request.param, optimize="memory", output=packed, verify=False)
    return source, packed


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_said", set())


def ran(session: Any) -> set[tuple[str, str]]:
    """Operators with the provider that each of them ran on."""
    session.run(None, {"h0": X})
    events = json.loads(Path(session.end_profiling()).read_text())
    found = [e["args"] for e in events if "op_name" in e.get("args", {})]
    return {(a["op_name"], a["provider"]) for a in found if "provider" in a}


def test_packed_layers_are_expanded_on_the_gpu(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=f"expanded and run on {GPU}"):
        session = sparse_export.InferenceSession(files[1], profiled(tmp_path), [GPU, CPU])
    assert session.get_providers() == [GPU, CPU]
    nodes = ran(session)
    assert {provider for name, provider in nodes if "Memcpy" not in name} == {GPU}
    assert {name for name, _ in nodes if "Memcpy" not in name} <= {"MatMul", "Gemm"}


def test_it_is_said_once(files: tuple[Path, Path]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            sparse_export.InferenceSession(files[1], providers=[GPU, CPU])
    assert len([w for w in caught if "packed layers" in str(w.message)]) == 1


@pytest.mark.filterwarnings("error:packed layers")
def test_cpu_insists_and_the_outputs_are_equal(files: tuple[Path, Path], tmp_path: Path) -> None:
    insisted = sparse_export.InferenceSession(files[1], profiled(tmp_path), [GPU, CPU], packed="cpu")
    got = insisted.run(None, {"h0": X})[0]
    assert {provider for name, provider in ran(insisted) if "MatMul" in name} == {CPU}
    wanted = onnxruntime.InferenceSession(files[0], providers=[CPU]).run(None, {"h0": X})[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:packed layers")
def test_expanded_weights_are_the_dense_file_s(files: tuple[Path, Path]) -> None:
    outputs = [
        sparse_export.InferenceSession(path, providers=[(GPU, {"use_tf32": "0"}), CPU]).run(None, {"h0": X})[
            0
        ]
        for path in files
    ]
    np.testing.assert_array_equal(outputs[1], outputs[0])


@pytest.mark.filterwarnings("ignore:packed layers")
def test_a_cuda_graph_takes_the_expanded_layers(files: tuple[Path, Path]) -> None:
    session = sparse_export.InferenceSession(files[1], providers=[(GPU, {"enable_cuda_graph": "1"}), CPU])
    x, y = (onnxruntime.OrtValue.ortvalue_from_numpy(a, "cuda", 0) for a in (X, np.zeros_like(X)))
    binding = session.io_binding()
    binding.bind_ortvalue_input("h0", x)
    binding.bind_ortvalue_output("h3", y)
    eager = sparse_export.InferenceSession(files[1], providers=[GPU, CPU])
    for scale in (1, 2, 3):  # the first is captured, then replayed on other numbers in the same place
        x.update_inplace(X * np.float32(scale))
        session.run_with_iobinding(binding)
        np.testing.assert_allclose(y.numpy(), eager.run(None, {"h0": X * scale})[0], rtol=1e-4, atol=1e-4)
