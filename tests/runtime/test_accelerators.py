"""Beside a GPU packed layers are expanded on it, unless `packed="cpu"` insists on the native operators."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import sparse_export
from sparse_export.runtime import inference

from . import profiles
from .profiles import profiled

GPU, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
X = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def packed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported file: it carries the functions of its packed layers."""
    from ..measure.small_models import chain

    folder = tmp_path_factory.mktemp("packed")
    source = chain(folder / "chain.onnx", density=0.1)
    sparse_export.export(
        source, format="csr", optimize="memory", output=folder / "chain.csr.onnx", verify=False
    )
    return folder / "chain.csr.onnx"


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_said", set())


class OnGpu(inference.InferenceSession):
    """A session that tells of a GPU and computes on the CPU, for onnxruntime builds without one."""

    gpu = True

    def get_providers(self) -> list[str]:
        return [GPU, CPU] if self.gpu else [CPU]


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> type[OnGpu]:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [GPU, CPU])
    monkeypatch.setattr(OnGpu, "gpu", True)
    return OnGpu


def operators(session: Any) -> set[str]:
    return profiles.operators(session, {"h0": X})


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize("providers", [[GPU, CPU], [(GPU, {"device_id": 0}), CPU], None])
def test_layers_are_expanded_beside_a_gpu(
    packed_file: Path, tmp_path: Path, with_gpu: type[OnGpu], providers: Any
) -> None:
    with pytest.warns(UserWarning, match=f"expanded and run on {GPU}; packed='cpu' keeps them packed"):
        session = with_gpu(packed_file, profiled(tmp_path), providers)
    assert operators(session) <= {"MatMul", "Gemm"}


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_it_is_said_once(packed_file: Path, with_gpu: type[OnGpu]) -> None:
    with pytest.warns(UserWarning, match="packed layers are expanded"):
        with_gpu(packed_file, providers=[GPU])
    with warnings.catch_warnings(record=True) as caught:
        with_gpu(packed_file, providers=[GPU])
    assert not [w for w in caught if "packed layers" in str(w.message)]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_nothing_is_said_of_a_model_that_was_not_exported(packed_file: Path, with_gpu: type[OnGpu]) -> None:
    dense = packed_file.with_name("chain.onnx")
    with warnings.catch_warnings(record=True) as caught:
        with_gpu(dense, providers=[GPU])
    assert not [w for w in caught if "packed layers" in str(w.message)]


@pytest.mark.filterwarnings("error:packed layers")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cpu_insists_on_the_native_operators(
    packed_file: Path, tmp_path: Path, with_gpu: type[OnGpu]
) -> None:
    session = with_gpu(packed_file, profiled(tmp_path), [GPU, CPU], packed="cpu")
    assert operators(session) == {"SparseMatMul"}


@pytest.mark.filterwarnings("error:packed layers")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_that_cannot_be_used_leaves_the_native_operators(
    packed_file: Path, tmp_path: Path, with_gpu: type[OnGpu], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnGpu, "gpu", False)
    assert operators(with_gpu(packed_file, profiled(tmp_path), [GPU, CPU])) == {"SparseMatMul"}


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_this_onnxruntime_lacks_does_not_count(packed_file: Path, tmp_path: Path) -> None:
    session = sparse_export.InferenceSession(packed_file, profiled(tmp_path), [GPU, CPU])
    assert operators(session) == {"SparseMatMul"}


@pytest.mark.filterwarnings("ignore:Specified provider", "ignore:packed layers")
def test_a_session_moved_to_the_cpu_gets_the_native_operators(
    packed_file: Path, tmp_path: Path, with_gpu: type[OnGpu], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = with_gpu(packed_file, profiled(tmp_path), [GPU, CPU])
    monkeypatch.setattr(OnGpu, "gpu", False)
    session.end_profiling()
    session.set_providers([CPU])
    assert operators(session) == {"SparseMatMul"}


@pytest.mark.filterwarnings("error:packed layers")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_model_without_functions_runs_on_the_native_operators(
    packed_file: Path, tmp_path: Path, with_gpu: type[OnGpu]
) -> None:
    model = onnx.load(packed_file)
    del model.functions[:]
    with pytest.raises(Exception, match="sparse_export:SparseMatMul"):
        with_gpu(model.SerializeToString(), providers=[GPU, CPU], packed="none")
    assert operators(with_gpu(model.SerializeToString(), profiled(tmp_path), [GPU, CPU])) == {"SparseMatMul"}


def test_accelerators_are_named_in_order_and_only_if_available() -> None:
    asked: list[Any] = ["TensorrtExecutionProvider", (GPU, {}), "DnnlExecutionProvider", CPU]
    assert inference.accelerators(asked, [CPU, GPU]) == [GPU]
    assert inference.accelerators(asked, [CPU, GPU, "TensorrtExecutionProvider"]) == [asked[0], GPU]
    assert inference.accelerators([CPU, "AzureExecutionProvider"], [CPU, "AzureExecutionProvider"]) == []


def test_an_exported_file_names_its_producer(packed_file: Path) -> None:
    assert onnx.load(packed_file).producer_name == inference.PRODUCER
