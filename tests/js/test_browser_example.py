"""The page of examples/browser: what it makes of a drawing, and drawing with the mouse in a real browser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sparse_export

from .conftest import export_to_onnx
from .test_javascript import CHROMIUM, HERE, NODE, needs_chromium, needs_node, script

PAGE = HERE.parents[1] / "examples" / "browser"


def in_node(code: str, given: Any = None) -> Any:
    """What a module of the page computes: `code` sees it as `digits` and the JSON as `given`; prints JSON."""
    text = f"import * as digits from {json.dumps((PAGE / 'digits.mjs').as_uri())};\n"
    text += f"const given = {json.dumps(given)};\nconsole.log(JSON.stringify({code}));"
    command = [str(NODE), "--input-type=module"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@needs_node
def test_the_page_gives_the_net_what_it_was_trained_on() -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split

    from sparse_export.training import data

    raw = sklearn.load_digits()
    chosen = train_test_split(range(len(raw.target)), test_size=0.2, random_state=0, stratify=raw.target)[0][
        :3
    ]
    wanted = data.digits().train.fetch(torch.arange(3))[0].numpy()
    for position, expected in zip(chosen, wanted, strict=True):
        cells = (raw.images[position] / 16).flatten().tolist()
        image = in_node("Array.from(digits.enlarge(given))", cells)
        np.testing.assert_allclose(np.reshape(image, (3, 32, 32)), expected, atol=2e-3)


@needs_node
def test_a_drawing_fills_the_cells_wherever_it_is() -> None:
    ink = np.zeros((70, 50), np.float32)
    ink[10:50, 20:30] = 1  # a bar four times as high as wide
    cells = np.reshape(list(in_node("digits.cells(given, 50, 70)", ink.flatten().tolist()).values()), (8, 8))
    assert np.array_equal(cells.sum(0) > 0, [0, 0, 0, 1, 1, 0, 0, 0])
    assert np.allclose(cells[:, 3:5], 1)
    assert in_node("digits.cells(given, 2, 2)", [0, 0, 0, 0.1]) is None


def digit_net() -> nn.Module:
    """Sparse random features of the 8 x 8 cells and a ridge regression on them: trained at once."""
    pytest.importorskip("sklearn")
    from sparse_export.training import data

    torch.manual_seed(0)
    digits = data.digits()
    images, labels = digits.train.fetch(torch.arange(digits.train.size))
    net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 1500), nn.ReLU(), nn.Linear(1500, 10))
    with torch.inference_mode():
        net[2].weight.normal_(0, 0.25)[torch.rand(1500, 192) < 0.9] = 0
        features = torch.cat([net[:4](images), torch.ones(len(images), 1)], 1).double()
        targets = nn.functional.one_hot(labels).double() * 12
        gram = features.T @ features + 20 * torch.eye(1501, dtype=torch.float64)
        solution = torch.linalg.solve(gram, features.T @ targets).float()
        net[4].weight.copy_(solution[:-1].T)
        net[4].bias.copy_(solution[-1])
        held_out, wanted = digits.test_arrays()
        assert (net(held_out).argmax(1) == wanted).float().mean() > 0.95
    return net.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The net that reads digits, dense and packed."""
    folder = tmp_path_factory.mktemp("digits")
    dense, packed = folder / "dense.onnx", folder / "packed.onnx"
    export_to_onnx(digit_net(), dense)
    sparse_export.export(dense, output=packed, verify=False)
    return dense, packed


def drawn(site: Path, *picture: Path) -> Any:
    """What the page says of digits drawn on it."""
    return json.loads(script("draw.mjs", site, str(CHROMIUM), *picture))


@needs_node
@needs_chromium
def test_digits_drawn_with_the_mouse_are_recognised_by_both_files(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    dense, packed = files
    subprocess.run([PAGE / "assemble.sh", dense, packed, tmp_path], check=True)
    found = drawn(tmp_path, tmp_path / "page.png")
    assert found["ready"] == "true"
    assert found["said"] == {digit: [digit, digit] for digit in "0163"}
    assert found["bytes"] == [packed.stat().st_size, dense.stat().st_size]
    assert packed.stat().st_size < dense.stat().st_size / 2
    assert found["answer"] == "This is a 3."
    for row in found["rows"]:
        assert row[2].endswith(" ms") and row[3].endswith(" ms")


@needs_node
@needs_chromium
def test_a_file_that_cannot_be_had_leaves_the_other(files: tuple[Path, Path], tmp_path: Path) -> None:
    dense, packed = files
    subprocess.run([PAGE / "assemble.sh", dense, packed, tmp_path], check=True)
    (tmp_path / "model.dense.onnx").unlink()
    found = drawn(tmp_path)
    assert found["loaded"] == "Not loaded: model.dense.onnx: the server answers 404"
    assert found["said"] == {digit: [digit, "not loaded"] for digit in "0163"}
    (tmp_path / "model.packed.onnx").write_bytes(packed.read_bytes()[:1000])
    found = drawn(tmp_path)
    assert found["ready"] == "failed"
    assert "model.packed.onnx: Can't create a session" in found["loaded"]


def test_the_page_is_not_assembled_of_nothing(tmp_path: Path) -> None:
    for words, code, said in (
        ([], 2, "usage: assemble.sh DENSE.onnx PACKED.onnx FOLDER"),
        (["a", "b", tmp_path / "site"], 3, "no onnxruntime-web; make js installs it"),
    ):
        command = [PAGE / "assemble.sh", *words]
        done = subprocess.run(command, env={"ORT_WEB": str(tmp_path)}, capture_output=True, text=True)
        assert (done.returncode, said in done.stderr) == (code, True)
    assert not (tmp_path / "site").exists()
