"""Dimensions that stay open in the graph, and weights that a net computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from sparse_export import InputError, UnsupportedError
from sparse_export.exporter.checkpoint import Checkpoint
from sparse_export.exporter.trace import dynamic
from sparse_export.exporter.trace import resolve as architecture
from sparse_export.exporter.trace.to_onnx import to_onnx


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.out = nn.Embedding(20, 8), nn.Linear(8, 5)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.out(self.embedding(ids) * mask.unsqueeze(-1))


def traced(module: nn.Module, shapes: list[tuple[int, ...]], **options: Any) -> onnx.ModelProto:
    loaded = Checkpoint(Path("m.pt"), "module", module.state_dict(), module.eval())
    return to_onnx(architecture.resolve(loaded, None, shapes, **options))


def test_named_axes_stay_open_beside_the_batch() -> None:
    module = Encoder()
    model = traced(
        module, [(1, 7), (1, 7)], input_dtypes=["int64", "float32"], dynamic=["ids:1=length", "1:-1=length"]
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [entry.shape for entry in session.get_inputs()] == [["batch", "length"]] * 2
    ids, mask = np.arange(33).reshape(3, 11) % 20, np.ones((3, 11), np.float32)
    got = session.run(None, {"ids": ids, "mask": mask})[0]
    want = module(torch.from_numpy(ids), torch.from_numpy(mask)).detach().numpy()
    assert np.allclose(got, want, atol=1e-5)


def test_an_axis_that_cannot_stay_open_is_refused_not_closed() -> None:
    with pytest.raises(UnsupportedError, match="cannot be traced with its batch and the --dynamic axes open"):
        traced(nn.Linear(7, 3), [(1, 7)], dynamic=["input:1"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "write --dynamic NAME:AXIS"),
        ("x:one", "write --dynamic NAME:AXIS"),
        ("x:1=a b", "write --dynamic NAME:AXIS"),
        ("y:1", "no input 'y'; it takes x"),
        ("1:1", "no input '1'"),
        ("x:2", "'x' has 2 dimensions"),
    ],
)
def test_axes_that_are_not_there_are_named(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        dynamic.parse([text], ["x"], [2])


def test_a_graph_of_its_own_keeps_its_dimensions() -> None:
    dynamic.refuse(Path("m.onnx"), [], "an .onnx file")
    with pytest.raises(InputError, match=r"m\.onnx: --dynamic is for nets that torch traces"):
        dynamic.refuse(Path("m.onnx"), ["x:1"], "an .onnx file")


class Ternary(nn.Linear):
    """BitNet b1.58: weights rounded to -1, 0, 1 times their mean magnitude."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = 1.0 / self.weight.abs().mean().clamp(min=1e-5)
        return F.linear(x, (self.weight * scale).round().clamp(-1, 1) / scale, self.bias)


def test_computed_weights_are_torchs_own_to_the_last_bit() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(Ternary(96, 64), nn.ReLU(), Ternary(64, 96))
    held = {t.name: numpy_helper.to_array(t) for t in traced(module, [(1, 96)]).graph.initializer}
    for name in ("0.weight", "2.weight"):
        latent = module.state_dict()[name]
        scale = 1.0 / latent.abs().mean().clamp(min=1e-5)
        want = ((latent * scale).round().clamp(-1, 1) / scale).numpy()
        assert np.array_equal(held[name], want)
        assert len(np.unique(held[name].view(np.uint32))) == 3  # no -0.0 among them


def test_a_parameter_that_is_only_turned_around_is_kept_as_it_is() -> None:
    model = traced(nn.Linear(6, 4), [(1, 3, 6)])
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert held["weight"].shape == (4, 6)
