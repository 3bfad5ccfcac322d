"""Retraining: zeros stay zero, schedules are what they say, BatchNorm and dropout follow."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from sparse_export.errors import InputError
from sparse_export.exporter.nets import cifar
from sparse_export.training import data, prune, retrain, train
from sparse_export.training.sweep import ways


@pytest.fixture(scope="module")
def blobs(request: pytest.FixtureRequest) -> data.Data:
    return data.load(f"{request.getfixturevalue('nets')}:blobs")


def tiny(nets: Path) -> nn.Module:
    torch.manual_seed(0)
    return cifar.create(f"{nets}:tiny", 4)


def zeros(model: nn.Module) -> list[torch.Tensor]:
    return [module.weight.detach() == 0 for module in prune.prunable(model).values()]  # type: ignore


@pytest.mark.parametrize("optimizer", train.OPTIMIZERS)
def test_every_zero_stays_zero_after_every_step(nets: Path, blobs: data.Data, optimizer: str) -> None:
    model = tiny(nets)
    prune.apply(model, prune.masks(model, 0.8))
    before, seen = zeros(model), []

    def look(*_: object) -> None:
        seen.append(all(torch.equal(a, b) for a, b in zip(before, zeros(model), strict=True)))

    recipe = train.Recipe(epochs=3, lr=0.01, optimizer=optimizer, weight_decay=0.1)
    train.fit(model, blobs, recipe, [retrain.Masked(model)], progress=look)
    assert len(seen) == 12
    assert all(seen)


def test_retraining_regains_accuracy(nets: Path, blobs: data.Data) -> None:
    model, recipe = tiny(nets), train.Recipe(epochs=6, lr=0.02)
    train.fit(model, blobs, recipe)
    before = train.accuracy(model, blobs.test)
    budget = ways.Allowance(recipe, epochs=6)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    ways.run("none", model, blobs, 0.8, budget)
    pruned = train.accuracy(model, blobs.test)
    model.load_state_dict(state)
    ways.run("lr-rewind", model, blobs, 0.8, budget)
    assert before > 0.9
    assert train.accuracy(model, blobs.test) > pruned


@pytest.mark.parametrize("method", ways.METHODS)
def test_every_method_ends_at_the_same_number_of_nonzeros(nets: Path, blobs: data.Data, method: str) -> None:
    model, early = tiny(nets), tiny(nets).state_dict()
    budget = ways.Allowance(train.Recipe(lr=0.01), epochs=2, rounds=2, early=early)
    ways.run(method, model, blobs, 0.75, budget)
    size = prune.count_nonzero(model)[1]
    assert prune.count_nonzero(model)[0] == size - round(0.75 * size)


def test_rounds_share_the_budget_and_end_at_the_rate() -> None:
    budget = ways.Allowance(train.Recipe(), epochs=7, rounds=3)
    rounds = ways.rounds_of(0.9, budget)
    assert sum(epochs for _, epochs in rounds) == 7
    assert rounds[-1][0] == 0.9
    assert [1 - rate for rate, _ in rounds] == pytest.approx([0.1 ** (1 / 3), 0.1 ** (2 / 3), 0.1])


def test_the_cubic_schedule_is_zhu_and_guptas(nets: Path) -> None:
    cubic = retrain.Cubic(tiny(nets), 0.8, ramp=0.5)
    assert cubic.rate_at(0) == pytest.approx(0)
    assert cubic.rate_at(0.25) == pytest.approx(0.8 * (1 - 0.5**3))
    assert cubic.rate_at(0.5) == cubic.rate_at(1) == 0.8


def test_schedules_set_the_learning_rate() -> None:
    original = train.Recipe(lr=0.1, schedule="cosine")
    fine = retrain.recipe_for(original, "fine-tune", 4, 7)
    assert (fine.lr, fine.schedule, fine.epochs, fine.seed) == (pytest.approx(0.01), "constant", 4, 7)
    again = retrain.recipe_for(original, "lr-rewind", 4, 7)
    assert (again.lr, again.schedule) == (0.1, "cosine")


def test_rewinding_sets_survivors_to_their_early_values(nets: Path) -> None:
    model, early = tiny(nets), {k: v.clone() + 1 for k, v in tiny(nets).state_dict().items()}
    prune.apply(model, prune.masks(model, 0.5))
    gone = zeros(model)
    retrain.rewind(model, early)
    weight = model.state_dict()["0.weight"]
    assert torch.equal(weight == 0, gone[0])
    assert torch.equal(weight[~gone[0]], early["0.weight"][~gone[0]])
    with pytest.raises(InputError, match="another architecture"):
        retrain.rewind(model, {"x": torch.zeros(1)})


def test_dropout_follows_hans_rule(nets: Path) -> None:
    model = tiny(nets)
    layer = model[11]  # type: ignore[index]
    with torch.no_grad():
        layer.weight.flatten()[: 3 * layer.weight.numel() // 4] = 0
    assert retrain.scale_dropout(model) == {"10": pytest.approx(0.5 * math.sqrt(0.25))}
    assert model[10].p == pytest.approx(0.25)  # type: ignore[index]


def test_batchnorm_is_reestimated_from_the_training_data(blobs: data.Data) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 4))
    assert retrain.reestimate_batchnorm(model, blobs) == 1
    images = blobs.train.fetch(torch.arange(blobs.train.size))[0]
    assert torch.allclose(model[0].running_mean, images.mean((0, 2, 3)), atol=1e-5)
    assert model[0].momentum == 0.1
    assert retrain.reestimate_batchnorm(nn.Sequential(nn.Linear(2, 2)), blobs) == 0
