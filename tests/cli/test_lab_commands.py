"""The lab's commands: what they print, and one clear line with exit code 2 for everything that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sparse_export import cli
from sparse_export.exporter.nets import cifar
from sparse_export.training import checkpoints

NETS = """
import torch
from torch import nn

def tiny(classes=4):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))

def blobs():
    labels = torch.arange(32) % 4
    images = labels.view(-1, 1, 1, 1) + torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (images[:24], labels[:24]), (images[24:], labels[24:])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nets.py, a checkpoint net.pt of its net, and a lab VGG-11."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "nets.py").write_text(NETS)
    torch.manual_seed(0)
    checkpoints.write(folder / "net.pt", cifar.create(f"{folder / 'nets.py'}:tiny", 4).state_dict())
    checkpoints.write(folder / "vgg.pt", cifar.vgg11_cifar().state_dict())
    (folder / "empty").mkdir()
    return folder


def run(place: Path, line: str) -> int:
    return cli.run([part.replace("@", f"{place}/") for part in line.split()])


TINY = "--arch @nets.py:tiny --data @nets.py:blobs --quiet"


def test_the_whole_way_from_training_to_binary(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, f"train {TINY} --epochs 1 --json -o @a.pt") == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["history"]["accuracy"] == [trained["accuracy"]]
    assert run(place, "prune @a.pt --arch @nets.py:tiny --rate 0.5 --keep-masks --json -o @b.pt") == 0
    assert json.loads(capsys.readouterr().out)["nonzeros"] == 684 - 342
    assert "0.weight_mask" in torch.load(place / "b.pt", weights_only=True)
    assert run(place, f"retrain @b.pt {TINY} --epochs 1 --gradual-to 0.75 --json -o @c.pt") == 0
    assert json.loads(capsys.readouterr().out)["nonzeros"] == 684 - 513
    assert run(place, f"binarize @a.pt {TINY} --epochs 1 --layers 0 -o @d.pt") == 0
    out = capsys.readouterr()
    assert "held-out accuracy" in out.out
    assert out.err == ""


def test_a_sweep_prints_where_its_rows_are_and_draws(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"sweep @net.pt {TINY} --rates 0,0.5 --seeds 2 --formats csr -o @sweep"
    assert run(place, line) == 0
    assert capsys.readouterr().out.strip() == f"{place}/sweep/rows.csv  4 rows"
    assert {path.name for path in (place / "sweep").glob("*.png")} == {
        "accuracy.png",
        "seeds.png",
        "bytes.png",
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("prune @net.pt --arch @nets.py:tiny --rate 1 -o @x.pt", "outside [0, 1)"),
        ("prune @net.pt --arch @nets.py:tiny --rate -0.1 -o @x.pt", "outside [0, 1)"),
        (
            "prune @net.pt --arch @nets.py:tiny --rate 0.5 --layers conv* -o @x.pt",
            "no layer matches 'conv*'",
        ),
        ("prune @net.pt --arch @nets.py:tiny -o @x.pt", "either a rate or a number"),
        ("prune @net.pt --rate 0.5 --evaluate -o @x.pt", "--arch"),
        ("prune @net.pt --rate 0.5 --amount 0.5 -o @x.pt", "give one"),
        ("prune @net.pt --rate 0.5 --kinds rnn -o @x.pt", "no weight of kind rnn"),
        ("prune @net.pt --rate 0.5 --kinds lstm -o @x.pt", "one of conv, linear"),
        ("prune @net.pt --rate 0.5 -o @x.onnx", "a checkpoint a checkpoint"),
        ("prune @vgg.pt --arch densenet-cifar --rate 0.5 -o @x.pt", "not a checkpoint of 'densenet-cifar'"),
        ("prune @nets.py --rate 0.5 -o @x.pt", "nets.py"),
        ("prune @absent.pt --rate 0.5 -o @x.pt", "no such file"),
        ("prune @net.pt --arch @nets.py:tiny --rate 0.5 -o @net.pt", "overwrite the input"),
        ("prune @net.pt --arch @nets.py:tiny --rate 0.5 -o @no/where.pt", "no such directory"),
        (f"retrain @net.pt {TINY} --schedule weight-rewind -o @x.pt", "--rewind-to"),
        (f"retrain @net.pt {TINY} --gradual-to 1.2 -o @x.pt", "outside [0, 1)"),
        (f"retrain @net.pt {TINY} --lr 0 -o @x.pt", "learning rate"),
        (f"binarize @net.pt {TINY} -o @x.pt", "no layer is left"),
        (f"binarize @net.pt {TINY} --method xnor -o @x.pt", "sign activations"),
        ("train --data folder:@empty -o @x.pt", "no images"),
        ("train --data cifar10 --data-dir @empty -o @x.pt", "--download"),
        ("train --data nonsense -o @x.pt", "unknown data"),
        ("train --arch nonsense -o @x.pt", "unknown architecture"),
        ("train --data @nets.py:blobs -o @x.pt", "does not take"),
        (f"sweep {TINY} --rates 0:1:0.1 -o @y", "outside [0, 1)"),
        (f"sweep {TINY} --rates 0.5 --retrain magic -o @y", "unknown retraining"),
        (f"sweep {TINY} --rates 0.5 --formats magic -o @y", "unknown format"),
        (f"sweep @net.pt {TINY} --rates 0.5 -o @nets.py", "folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    place: Path, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    assert run(place, line) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not (place / "x.pt").exists()
    assert not list(place.glob("*.resume"))


@pytest.mark.parametrize("name", ["train", "prune", "retrain", "binarize", "sweep"])
def test_help_ends_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == 0
    assert "Examples:" in capsys.readouterr().out
