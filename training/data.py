"""Labelled images: scikit-learn's digits, CIFAR-10 files, image folders, or the user's own factory.

A data set is two splits; a split hands out normalised float32 batches in an order that depends on
nothing but the seed and the epoch, so a run that is resumed sees the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import CorruptFileError, InputError, MissingDependencyError
from ..exporter.nets import torchvision as vision
from ..exporter.nets import user_code

Batch = tuple[torch.Tensor, torch.Tensor]

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Split:
    """One half of a data set.

    Parameters
    ----------
    size
        Number of samples.
    fetch
        Positions int64 [n] to (images float32 [n, C, H, W], labels int64 [n]).
    augment
        Applied to the images of a training batch, with that epoch's generator; None: nothing.
    """

    size: int
    fetch: Callable[[torch.Tensor], Batch]
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Every sample once, in order, as it is."""
        for positions in torch.split(torch.arange(self.size), batch_size):
            yield self.fetch(positions)

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Every sample once, shuffled and augmented as the seed and the epoch say."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        for positions in torch.split(torch.randperm(self.size, generator=generator), batch_size):
            images, labels = self.fetch(positions)
            yield (self.augment(images, generator) if self.augment else images), labels


@dataclass(frozen=True)
class Data:
    """A training split, a held-out split and the number of classes."""

    name: str
    train: Split
    test: Split
    classes: int

    def test_arrays(self) -> Batch:
        """The whole held-out split at once."""
        return self.test.fetch(torch.arange(self.test.size))


def _tensor_split(images: torch.Tensor, labels: torch.Tensor, augment: Any = None) -> Split:
    return Split(len(images), lambda positions: (images[positions], labels[positions]), augment)


def digits(image_size: int = 32, held_out: float = 0.2) -> Data:
    """scikit-learn's 1,797 handwritten digits, upscaled to 3 x size x size; every class split alike."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise MissingDependencyError(
            "scikit-learn (data 'digits') is not installed: pip install 'sparse-export[lab]'"
        ) from error
    raw = load_digits()
    train, test = train_test_split(
        range(len(raw.target)), test_size=held_out, random_state=0, stratify=raw.target
    )
    images = torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16
    images = (images - images[train].mean()) / images[train].std()
    images = F.interpolate(images, size=(image_size, image_size), mode="bilinear").repeat(1, 3, 1, 1)
    labels = torch.tensor(raw.target, dtype=torch.int64)
    return Data(
        "digits", _tensor_split(images[train], labels[train]), _tensor_split(images[test], labels[test]), 10
    )


def crop_and_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """CIFAR's augmentation: a random crop out of 4 pixels of zero padding, half of the images mirrored."""
    n, _, height, width = images.shape
    padded = F.pad(images, (4, 4, 4, 4))
    tops, lefts = torch.randint(0, 9, (2, n), generator=generator)
    mirrored = torch.rand(n, generator=generator) < 0.5
    rows = tops[:, None] + torch.arange(height)
    columns = lefts[:, None] + torch.where(
        mirrored[:, None], torch.arange(width).flip(0), torch.arange(width)
    )
    samples = torch.arange(n)[:, None, None]
    return (
        padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]]
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def cifar10(directory: str | None, download: bool = False) -> Data:
    """CIFAR-10 from the python-version files under `directory`, normalised per channel.

    Raises
    ------
    InputError
        If the files are not there and `download` is off.
    CorruptFileError
        If a file's checksum or content is wrong.
    """
    if directory is None:
        raise InputError("data 'cifar10' needs --data-dir DIR (the folder that holds cifar-10-batches-py)")
    vision.models()
    from torchvision.datasets import CIFAR10 as loader

    if not download and not (Path(directory) / loader.base_folder).is_dir():
        raise InputError(f"no {loader.base_folder} in {directory}: unpack CIFAR-10 there, or add --download")
    splits = []
    for train in (True, False):
        try:
            raw = loader(directory, train=train, download=download)
        except Exception as error:
            raise CorruptFileError(
                f"CIFAR-10 files in {directory} cannot be used ({error}); fetch them again with --download"
            ) from error
        images = torch.from_numpy(raw.data).permute(0, 3, 1, 2).contiguous()
        labels = torch.tensor(raw.targets, dtype=torch.int64)
        if len(images) == 0 or len(images) != len(labels):
            raise CorruptFileError(
                f"CIFAR-10 files in {directory}: {len(images)} images and {len(labels)} labels"
            )
        fetch = partial(_fetch_bytes, images, labels)
        splits.append(Split(len(images), fetch, crop_and_flip if train else None))
    return Data("cifar10", splits[0], splits[1], 10)


def _fetch_bytes(images: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor) -> Batch:
    """Normalised images of a uint8 array: it stays uint8 in memory."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CIFAR_MEAN, CIFAR_STD))
    return (images[positions].float() / 255 - mean) / std, labels[positions]


def folder(directory: str, image_size: int = 32, held_out: float = 0.2) -> Data:
    """Images of DIR/<class>/*, or of DIR/train/<class>/* and DIR/test/<class>/* (or val).

    Raises
    ------
    InputError
        If the folder does not exist or holds no images.
    """
    root = Path(directory)
    if not root.is_dir():
        raise InputError(f"no such folder: {directory}")
    if not any(p.suffix.lower() in IMAGE_SUFFIXES for p in root.rglob("*")):
        raise InputError(
            f"no images in {directory}: expected DIR/CLASS/IMAGE.png or DIR/train/CLASS/IMAGE.png"
        )
    held = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if (root / "train").is_dir() and held is not None:
        train, test = _image_folder(root / "train", image_size), _image_folder(held, image_size)
        if train.classes != test.classes:
            raise InputError(f"{root / 'train'} and {held} hold different classes")
        everything, others = torch.arange(len(train)), torch.arange(len(test))
        splits = [_dataset_split(train, everything), _dataset_split(test, others)]
    else:
        train = _image_folder(root, image_size)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        cut = max(1, round(len(train) * held_out))
        if cut >= len(train):
            raise InputError(f"{directory} holds {len(train)} image; at least 2 are needed to hold one out")
        splits = [_dataset_split(train, order[cut:]), _dataset_split(train, order[:cut])]
    return Data(f"folder:{directory}", splits[0], splits[1], len(train.classes))


def _image_folder(root: Path, image_size: int) -> Any:
    vision.models()
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize((image_size, image_size)), transforms.ToTensor()]
    steps.append(transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    try:
        return ImageFolder(str(root), transforms.Compose(steps))
    except (FileNotFoundError, RuntimeError) as error:
        raise InputError(f"no images in {root}: {str(error).splitlines()[0]}") from error


def _dataset_split(dataset: Any, positions: torch.Tensor) -> Split:
    """A split over any dataset with `[i] -> (image, label)`; samples are read when they are asked for."""

    def fetch(wanted: torch.Tensor) -> Batch:
        pairs = []
        for position in positions[wanted].tolist():
            try:
                image, label = dataset[position]
            except OSError as error:
                raise CorruptFileError(
                    f"{dataset.samples[position][0]}: not a readable image ({error})"
                ) from error
            pairs.append((image, int(label)))
        images = torch.stack([torch.as_tensor(image, dtype=torch.float32) for image, _ in pairs])
        return images, torch.tensor([label for _, label in pairs], dtype=torch.int64)

    return Split(len(positions), fetch)


def from_factory(spec: str) -> Data:
    """What a factory returns: a `Data`, or (train, test), each (images, labels) or a torch Dataset.

    Raises
    ------
    InputError
        If it returns something else or a split is empty.
    """
    try:
        result = user_code.find("--data", spec)()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"data factory '{spec}' failed: {user_code.reason(error)}") from error
    if isinstance(result, Data):
        return result
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise InputError(f"data factory '{spec}' must return (train, test), not {type(result).__name__}")
    splits = [_any_split(part, spec) for part in result]
    labels = torch.cat([split.fetch(torch.arange(split.size))[1] for split in splits])
    return Data(spec, splits[0], splits[1], int(labels.max()) + 1)


def _any_split(part: Any, spec: str) -> Split:
    if isinstance(part, tuple | list) and len(part) == 2:
        images = torch.as_tensor(part[0], dtype=torch.float32)
        labels = torch.as_tensor(part[1], dtype=torch.int64)
        if len(images) != len(labels):
            raise InputError(f"data factory '{spec}': {len(images)} images and {len(labels)} labels")
        split = _tensor_split(images, labels)
    elif hasattr(part, "__len__") and hasattr(part, "__getitem__"):
        split = _dataset_split(part, torch.arange(len(part)))
    else:
        raise InputError(f"data factory '{spec}': a split must be (images, labels) or a Dataset")
    if split.size == 0:
        raise InputError(f"data factory '{spec}' returned an empty split")
    return split


def load(
    source: str = "digits", directory: str | None = None, download: bool = False, image_size: int = 32
) -> Data:
    """The data set that `--data` names: digits, cifar10, folder:DIR, or module:factory / file.py:factory."""
    if source == "digits":
        return digits(image_size)
    if source == "cifar10":
        return cifar10(directory, download)
    if source.startswith("folder:"):
        return folder(source.removeprefix("folder:"), image_size)
    if ":" in source:
        return from_factory(source)
    raise InputError(
        f"unknown data '{source}': digits, cifar10, folder:DIR, MODULE:FACTORY or FILE.py:FACTORY"
    )
