"""GPU paths: refused in one line without a GPU, measured where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sparse_export.errors import MissingDependencyError, UnsupportedError
from sparse_export.measure import harness
from sparse_export.measure.runners import cuda, torch_variants
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
        got = torch_variants.transform(net, "csr")(x)
    torch.testing.assert_close(got, wanted)


def test_two_of_four_is_recognised() -> None:
    assert torch_variants.has_two_of_four(torch.tensor([[1.0, 0, 2, 0, 0, 0, 0, 3]]))
    assert not torch_variants.has_two_of_four(torch.tensor([[1.0, 4, 2, 0, 0, 0, 0, 3]]))
    assert not torch_variants.has_two_of_four(torch.zeros(2, 6))


def test_dense_weights_have_no_two_of_four_form() -> None:
    with pytest.raises(UnsupportedError, match="two zeros in every four"):
        torch_variants.transform(nn.Sequential(nn.Linear(64, 64)), "2:4")


def test_every_variant_of_a_checkpoint_is_a_subject(models: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = tmp_path / "net.pt"
    checkpoint.touch()
    found = cuda.subjects([checkpoint, models["dense"]])
    assert [s.variant for s in found] == [*torch_variants.VARIANTS, None]
    assert len({s.id for s in found}) == len(found)


def job(variant: str, device: str) -> dict[str, object]:
    return {"runtime": "torch", "path": "net.pt", "variant": variant, "device": device}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("variant", ["fp32", "tf32", "fp16", "csr"])
def test_runner_of_a_variant_works_on_the_cpu_too(monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    net = nn.Sequential(nn.Linear(32, 8)).eval()
    wanted = net(torch.ones(4, 32)).detach().numpy()
    monkeypatch.setattr(cuda, "load_module", lambda *_: (net, [torch.zeros(1, 32)]))
    runner = cuda.make_runner(job(variant, "cpu"))
    runner.load()
    (spec,) = runner.inputs()
    feeds = {spec.name: np.ones((4, 32), np.float32)}
    assert spec.shape == (None, 32)
    np.testing.assert_allclose(runner.run(feeds)[0], wanted, rtol=1e-2, atol=1e-2)
    assert isinstance(runner, cuda.TorchVariant)
    assert 0 < runner.timed_run(feeds) < 1e3


def test_graph_variant_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "load_module", lambda *_: (nn.Linear(32, 8), [torch.zeros(1, 32)]))
    runner = cuda.make_runner(job("fp16-graph", "cpu"))
    runner.load()
    with pytest.raises(UnsupportedError, match="CUDA graph needs"):
        runner.run({"input0": np.ones((4, 32), np.float32)})


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_csr_leaves_the_layer_that_an_attention_reads_itself() -> None:
    net = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).eval()
    x = torch.randn(2, 5, 64)
    with torch.inference_mode():
        wanted = net(x)
        changed = torch_variants.transform(net, "csr")
        torch.testing.assert_close(changed(x), wanted)
    assert type(changed.self_attn.out_proj).__module__.startswith("torch")
    assert not isinstance(changed.linear1, nn.Linear)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_variants_are_compared_on_the_cpu_when_asked_for(tmp_path: Path) -> None:
    from sparse_export.exporter.nets import cifar as nets
    from sparse_export.measure import run
    from sparse_export.measure.request import Request

    torch.save(nets.create("vgg11-cifar").state_dict(), tmp_path / "vgg.pt")
    options = Options(rounds=1, warmup=0, min_runs=2, min_seconds=0, architecture="vgg11-cifar")
    request = Request((tmp_path / "vgg.pt",), variants=("fp32", "fp16-graph", "csr"))
    fp32, graph, csr = run.run(request, options, "bench vgg.pt")["results"]
    assert (fp32["status"], csr["status"]) == ("ok", "ok")
    assert csr["difference"]["max_abs"] < 1e-3
    assert graph["error"] == "a CUDA graph needs an NVIDIA GPU"


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cpu_fallback_of_the_provider_is_refused(models: dict[str, Path]) -> None:
    runner = cuda.make_runner({"runtime": "onnxruntime-stock", "path": str(models["dense"]), "threads": 1})
    with pytest.raises(MissingDependencyError, match="no CUDA provider"):
        runner.load()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("variant", ["fp32", "fp16-graph", "csr"])
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
@pytest.mark.parametrize("variant", ["fp16-graph", "2:4", "2:4-graph"])
def test_half_precision_variants_compute_the_same(monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64)).eval()
    for layer in (net[0], net[2]):
        layer.weight.data.view(-1, 4)[:, 1::2] = 0
    inputs = [np.random.default_rng(seed).standard_normal((16, 256), np.float32) for seed in range(3)]
    wanted = [net(torch.from_numpy(x)).detach().numpy() for x in inputs]
    monkeypatch.setattr(cuda, "load_module", lambda *_: (net, [torch.zeros(1, 256)]))
    runner = cuda.make_runner(job(variant, "cuda"))
    runner.load()
    for x, y in zip(inputs, wanted, strict=True):  # a graph must take each new input in
        np.testing.assert_allclose(runner.run({"input0": x})[0], y, rtol=2e-2, atol=2e-2)
    assert isinstance(runner, cuda.TorchVariant)
    assert runner.timed_run({"input0": inputs[0]}) > 0
    assert runner.device_memory() > 0


@pytest.mark.gpu
@needs_gpu
def test_the_gpu_is_described() -> None:
    found = cuda.describe()
    assert found and found["memory_bytes"] > 1 << 30
    assert found["name"] == torch.cuda.get_device_name(0)


@pytest.mark.gpu
@needs_gpu
def test_cuda_provider_is_used_or_named_as_missing(models: dict[str, Path]) -> None:
    (subject,) = cuda.subjects([models["dense"]])
    (series,) = harness.measure([subject], Options(device="cuda", rounds=1, min_runs=5, min_seconds=0)).series
    assert series.rounds or "CUDA" in str(series.error)
