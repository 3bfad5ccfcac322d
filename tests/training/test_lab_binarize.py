"""Binarized weights are exactly two numbers a channel, and training goes through the sign."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparse_export.errors import InputError
from sparse_export.exporter.nets import cifar
from sparse_export.training import binarize, checkpoints, runs, train
from sparse_export.training.beginning import DataSpec
from sparse_export.training.run_binarize import run_binarize


@pytest.fixture(scope="module")
def trained(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("binary") / "float.pt"
    spec = DataSpec(f"{nets}:blobs")
    runs.run_train(path, f"{nets}:tiny", spec, train.Recipe(epochs=4, lr=0.02))
    return path


def test_every_output_channel_holds_plus_and_minus_its_mean_magnitude() -> None:
    weight = torch.randn(6, 5, 3, 3)
    weight[0, 0, 0, 0] = 0
    weight[5] = 0
    out = binarize.binary(weight, scaled=True)
    for k in range(5):
        assert set(out[k].abs().unique().tolist()) == {weight[k].abs().mean().item()}
    assert torch.equal(out >= 0, weight >= 0)
    assert out[0, 0, 0, 0] > 0
    assert bool((out[5] > 0).all())
    assert set(binarize.binary(weight, scaled=False).unique().tolist()) == {-1.0, 1.0}


def test_first_and_last_layer_stay_float_unless_asked(nets: Path) -> None:
    model = cifar.create(f"{nets}:tiny", 4)
    assert binarize.layers_of(model) == ["5", "11"]
    assert binarize.layers_of(model, ["1*"]) == ["11", "13"]
    with pytest.raises(InputError, match="no layer matches"):
        binarize.layers_of(model, ["features.*"])
    with pytest.raises(InputError, match="no layer is left"):
        binarize.layers_of(torch.nn.Sequential(torch.nn.Linear(2, 2)))


@pytest.mark.parametrize("method", ["sign", "binaryconnect", "ste"])
def test_the_checkpoint_written_is_binary_and_ordinary(
    nets: Path, trained: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "binary.pt"
    spec, recipe = DataSpec(f"{nets}:blobs"), train.Recipe(epochs=3, lr=0.02)
    outcome = run_binarize(trained, out, f"{nets}:tiny", spec, recipe, method)
    model, _ = checkpoints.load_model(out, f"{nets}:tiny")
    assert train.accuracy(model, spec.load().test) == outcome.accuracy
    for name in ("5", "11"):
        weight = model.state_dict()[f"{name}.weight"].flatten(1)
        assert torch.equal(weight.abs(), weight.abs()[:, :1].expand_as(weight))
    assert model.state_dict()["0.weight"].abs().unique().numel() > 8


def test_masters_are_clipped_and_restored(nets: Path) -> None:
    model = cifar.create(f"{nets}:tiny", 4)
    before = model[5].weight.detach().clone()  # type: ignore[index]
    constraint = binarize.Binary(model, ["5"], scaled=False)
    constraint.enter(0.0)
    assert set(model[5].weight.unique().tolist()) == {-1.0, 1.0}  # type: ignore[index]
    constraint.leave()
    assert torch.equal(model[5].weight, before)  # type: ignore[index]
    with torch.no_grad():
        model[5].weight.mul_(100)  # type: ignore[index]
    constraint.after_step()
    assert float(model[5].weight.detach().abs().max()) <= 1  # type: ignore[index]


def test_the_labs_vgg_gets_sign_activations_and_keeps_its_weights() -> None:
    model = cifar.vgg11_cifar()
    other, name = binarize.with_sign_activations(model, "vgg11-cifar", model.state_dict())
    assert name == "vgg11-cifar-xnor"
    assert torch.equal(other.classifier.weight, model.classifier.weight)  # type: ignore[union-attr, arg-type]
    assert sum(isinstance(module, cifar.Sign) for module in other.modules()) == 7
    with pytest.raises(InputError, match="no sign activations"):
        binarize.with_sign_activations(torch.nn.Linear(2, 2), "linear", {})


def test_data_of_another_shape_is_refused_in_one_line(nets: Path, trained: Path, tmp_path: Path) -> None:

    source = tmp_path / "wide.py"
    source.write_text(
        "import torch\ndef wide():\n    p = (torch.zeros(4, 5, 8, 8), [0] * 4)\n    return p, p\n"
    )
    with pytest.raises(InputError, match="does not take"):
        run_binarize(
            trained, tmp_path / "x.pt", f"{nets}:tiny", DataSpec(f"{source}:wide"), train.Recipe(), "ste"
        )
