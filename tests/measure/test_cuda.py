"""GPU paths: refused in one line without a GPU, measured where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sparse_export.errors import MissingDependencyError, UnsupportedError
from sparse_export.measure import harness
from sparse_export.measure.runners import cuda
from sparse_export.measure.subjects import Options

HAS_GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU")


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_no_gpu_is_one_clear_line() -> None:
    with pytest.raises(MissingDependencyError, match=r"^no NVIDIA GPU that torch .* can use"):
        cuda.require_gpu()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_csr_variant_computes_the_same(stride: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=stride, padding=1, dilation=2), nn.Flatten(2), nn.LazyLinear(5)
    )
    x = torch.randn(2, 3, 9, 7)
    with torch.inference_mode():
        wanted = net(x)
        got = cuda.transform(net, "csr")(x)
    torch.testing.assert_close(got, wanted)


def test_two_of_four_is_recognised() -> None:
    assert cuda.has_two_of_four(torch.tensor([[1.0, 0, 2, 0, 0, 0, 0, 3]]))
    assert not cuda.has_two_of_four(torch.tensor([[1.0, 4, 2, 0, 0, 0, 0, 3]]))
    assert not cuda.has_two_of_four(torch.zeros(2, 6))


def test_dense_weights_have_no_two_of_four_form() -> None:
    with pytest.raises(UnsupportedError, match="two zeros in every four"):
        cuda.transform(nn.Sequential(nn.Linear(64, 64)), "2:4")


def test_every_variant_of_a_checkpoint_is_a_subject(models: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = tmp_path / "net.pt"
    checkpoint.touch()
    found = cuda.subjects([checkpoint, models["dense"]])
    assert [s.variant for s in found] == [*cuda.VARIANTS, None]
    assert len({s.id for s in found}) == len(found)


class Clock:
    """A stand-in for torch.cuda.Event: each is recorded 2 ms after the one before."""

    now = 0.0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        Clock.now += 2.0
        self.at = Clock.now

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Clock) -> float:
        return end.at - self.at


@pytest.mark.skipif(HAS_GPU, reason="the real device is tested below")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("variant", ["fp32", "fp16", "csr"])
def test_runner_goes_through_its_steps_without_a_device(
    monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    for owner in (torch.Tensor, nn.Module):
        monkeypatch.setattr(owner, "cuda", lambda self: self)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "Event", Clock)
    net = nn.Sequential(nn.Linear(32, 8))
    monkeypatch.setattr(cuda, "load_module", lambda *_: (net.eval(), [torch.zeros(1, 32)]))
    runner = cuda.make_runner({"runtime": "torch", "path": "net.pt", "variant": variant})
    wanted = net(torch.ones(4, 32)).detach().numpy()
    runner.load()
    (spec,) = runner.inputs()
    feeds = {spec.name: np.ones((4, 32), np.float32)}
    assert spec.shape == (None, 32)
    np.testing.assert_allclose(runner.run(feeds)[0], wanted, rtol=1e-2, atol=1e-2)
    assert isinstance(runner, cuda.TorchCuda)
    assert runner.timed_run(feeds) == 2.0


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cpu_fallback_of_the_provider_is_refused(models: dict[str, Path]) -> None:
    runner = cuda.make_runner({"runtime": "onnxruntime-stock", "path": str(models["dense"]), "threads": 1})
    with pytest.raises(MissingDependencyError, match="no CUDA provider"):
        runner.load()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("variant", ["fp32", "fp16", "csr"])
def test_variant_is_measured_with_events(tmp_path: Path, variant: str) -> None:
    from sparse_export.exporter.nets import cifar as nets

    torch.save(nets.create("vgg11-cifar").state_dict(), tmp_path / "vgg.pt")
    subject = next(s for s in cuda.subjects([tmp_path / "vgg.pt"]) if s.variant == variant)
    options = Options(
        device="cuda",
        rounds=1,
        min_runs=5,
        min_seconds=0,
        architecture="vgg11-cifar",
        input_shape=(1, 3, 32, 32),
    )
    (series,) = harness.measure([subject], options).series
    assert series.error is None
    assert series.rounds[0]["memory"]["device"] > 0
    assert min(series.rounds[0]["latencies_ms"]) > 0


@pytest.mark.gpu
@needs_gpu
def test_cuda_provider_is_used_or_named_as_missing(models: dict[str, Path]) -> None:
    (subject,) = cuda.subjects([models["dense"]])
    (series,) = harness.measure([subject], Options(device="cuda", rounds=1, min_runs=5, min_seconds=0)).series
    assert series.rounds or "CUDA" in str(series.error)
