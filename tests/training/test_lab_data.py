"""Data: splits, the order of batches, CIFAR-10 files, folders, factories, and what is wrong with them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparse_export.errors import CorruptFileError, InputError
from sparse_export.exporter.nets import torchvision as vision
from sparse_export.training import data


def test_digits_are_split_by_class_normalised_and_upscaled() -> None:
    digits = data.digits()
    images, labels = digits.test_arrays()
    assert (digits.train.size, digits.test.size, digits.classes) == (1437, 360, 10)
    assert images.shape == (360, 3, 32, 32)
    assert torch.bincount(labels).min() >= 34
    train = digits.train.fetch(torch.arange(digits.train.size))[0]
    assert abs(float(train.mean())) < 0.05
    assert 0.7 < float(train.std()) < 1.1


def test_batches_depend_on_seed_and_epoch_only() -> None:
    split = data.digits(8).train

    def labels(seed: int, epoch: int) -> list[int]:
        return torch.cat([batch[1] for batch in split.shuffled(100, seed, epoch)]).tolist()

    assert labels(1, 2) == labels(1, 2)
    assert labels(1, 2) != labels(1, 3)
    assert labels(1, 2) != labels(2, 2)
    assert sorted(labels(1, 2)) == sorted(torch.cat([batch[1] for batch in split.batches(100)]).tolist())


def test_augmentation_crops_and_mirrors_the_same_image() -> None:
    images = torch.arange(1, 2 * 3 * 64 + 1, dtype=torch.float32).reshape(2, 3, 8, 8).repeat(20, 1, 1, 1)
    out = data.crop_and_flip(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    known = set(images.unique().tolist()) | {0.0}
    assert set(out.unique().tolist()) <= known
    steps = {float(row[4] - row[3]) for row in out[:, 0, 3] if row[3] > 0 and row[4] > 0}
    assert steps == {1.0, -1.0}


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 folder of 20 images in the published layout, its checksums made known to the loader."""
    vision.models()
    from torchvision.datasets import CIFAR10

    base = tmp_path / CIFAR10.base_folder
    base.mkdir()
    rng = np.random.default_rng(0)

    def put(name: str, value: object) -> str:
        (base / name).write_bytes(content := pickle.dumps(value))
        return hashlib.md5(content).hexdigest()

    def batch(count: int) -> dict[str, object]:
        return {
            "data": rng.integers(0, 256, (count, 3072), np.uint8),
            "labels": [i % 10 for i in range(count)],
        }

    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", put("data_batch_1", batch(20))]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", put("test_batch", batch(10))]])
    meta = {"filename": "batches.meta", "key": "label_names"}
    names = {"label_names": [f"class {i}" for i in range(10)]}
    monkeypatch.setattr(CIFAR10, "meta", meta | {"md5": put("batches.meta", names)})
    return tmp_path


def test_reads_cifar_files_and_augments_only_the_training_split(cifar: Path) -> None:
    found = data.load("cifar10", str(cifar))
    assert (found.train.size, found.test.size, found.classes) == (20, 10, 10)
    images, labels = found.test_arrays()
    assert images.shape == (10, 3, 32, 32)
    assert labels.tolist() == list(range(10))
    assert abs(float(images.mean())) < 0.5
    assert found.train.augment is not None
    assert found.test.augment is None


def test_refuses_corrupt_cifar_files(cifar: Path) -> None:
    path = next(cifar.rglob("data_batch_1"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptFileError, match=r"CIFAR-10 files in .* --download"):
        data.load("cifar10", str(cifar))


def test_says_where_cifar_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-dir"):
        data.load("cifar10")
    with pytest.raises(InputError, match=r"no cifar-10-batches-py .* --download"):
        data.load("cifar10", str(tmp_path))


def images_in(root: Path, count: int = 3) -> None:
    for number in range(2 * count):
        path = root / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (number * 20, 0, 255)).save(path)


def test_reads_a_folder_with_and_without_its_own_held_out_half(tmp_path: Path) -> None:
    images_in(tmp_path / "one")
    one = data.load(f"folder:{tmp_path / 'one'}", image_size=16)
    assert (one.train.size, one.test.size, one.classes) == (5, 1, 2)
    assert one.test_arrays()[0].shape == (1, 3, 16, 16)
    images_in(tmp_path / "two" / "train")
    images_in(tmp_path / "two" / "val", 2)
    two = data.load(f"folder:{tmp_path / 'two'}")
    assert (two.train.size, two.test.size) == (6, 4)


def test_refuses_folders_without_images_or_with_broken_ones(tmp_path: Path) -> None:
    (tmp_path / "empty" / "class").mkdir(parents=True)
    for name in ("absent", "empty"):
        with pytest.raises(InputError, match=r"no such folder|no images"):
            data.load(f"folder:{tmp_path / name}")
    images_in(tmp_path / "broken")
    for path in (tmp_path / "broken").rglob("*.png"):
        path.write_bytes(b"not a picture")
    broken = data.load(f"folder:{tmp_path / 'broken'}")
    with pytest.raises(CorruptFileError, match="not a readable image"):
        broken.test_arrays()


def test_takes_what_a_factory_returns_and_refuses_the_rest(tmp_path: Path) -> None:
    source = tmp_path / "own.py"
    source.write_text(
        "import torch\n"
        "class Set(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 3\n"
        "    def __getitem__(self, i): return torch.zeros(1, 4, 4), i\n"
        "def sets(): return Set(), Set()\n"
        "def arrays():\n    p = (torch.zeros(2, 1, 4, 4), [0, 6]); return p, p\n"
        "def wrong(): return 3\n"
        "def uneven():\n    p = (torch.zeros(2, 1), [0]); return p, p\n"
        "def empty():\n    p = (torch.zeros(0, 1), []); return p, p\n"
    )
    assert data.load(f"{source}:sets").classes == 3
    assert data.load(f"{source}:arrays").classes == 7
    for name in ("wrong", "uneven", "empty", "absent"):
        with pytest.raises(InputError):
            data.load(f"{source}:{name}")
    with pytest.raises(InputError, match="unknown data"):
        data.load("mnist")
