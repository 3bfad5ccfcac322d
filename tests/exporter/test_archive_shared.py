"""Archives of tensors that lie on each other's memory: each comes back with its own values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparse_export.errors import CorruptFileError
from sparse_export.exporter import archive, checkpoint

from ..hostile.builders import checkpoint_of, integer, name, text

#: Elements of the storage, and of each of the tensors on it.
SIZE, PART = 1 << 16, 60_000


def views(count: int, stride: int = 1, shape: tuple[int, ...] = (PART,)) -> bytes:
    """The pickle of a dict of tensors on one storage, each an element behind the one before."""
    storage = text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + integer(SIZE)
    sizes = b"(" + b"".join(map(integer, shape)) + b"t"
    strides = b"(" + b"".join(integer(stride) for _ in shape) + b"t"
    hooks = name("collections", "OrderedDict") + b")R"
    tensors = (
        text(f"w{offset}") + name("torch._utils", "_rebuild_tensor_v2")
        + b"((" + storage + b"tQ" + integer(offset) + sizes + strides + b"\x89" + hooks + b"tR"
        for offset in range(count)
    )  # fmt: skip
    return b"}(" + b"".join(tensors) + b"u"


@pytest.mark.parametrize("padding", range(4))
def test_storages_that_are_not_aligned_keep_their_values(
    padding: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    values = rng.standard_normal(SIZE).astype(np.float32)
    path, packed = tmp_path / "views.pt", tmp_path / "views.packed.safetensors"
    more = [(b"a/data/1", b" " * padding), (b"a/data/0", values.tobytes())]
    path.write_bytes(checkpoint_of(views(40), *more))
    archive.write(path, packed)
    for offset, tensor in enumerate(archive.load(packed).values()):
        np.testing.assert_array_equal(tensor.numpy(), values[offset : offset + PART])


@pytest.mark.parametrize(("stride", "shape"), [(0, (1 << 14, 1 << 14)), (1, (1 << 14, 1 << 14))])
def test_tensors_that_repeat_their_bytes_are_not_written_out(
    stride: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "repeated.pt"
    path.write_bytes(checkpoint_of(views(1, stride, shape), (b"a/data/0", bytes(4 * SIZE))))
    with pytest.raises(CorruptFileError, match=r"become 1,073,741,824 bytes of tensors.*--max-dense"):
        archive.write(path, tmp_path / "out.packed.safetensors")
    assert list(tmp_path.iterdir()) == [path]


def test_overlapping_tensors_are_not_copied_without_end(tmp_path: Path) -> None:
    path = tmp_path / "overlapping.pt"
    path.write_bytes(checkpoint_of(views(300, 2, (180, 180)), (b"a/data/0", bytes(4 * SIZE))))
    assert len(checkpoint.load(path).tensors) == 300
    path.write_bytes(checkpoint_of(views(1500, 1, (250, 250)), (b"a/data/0", bytes(4 * SIZE))))
    with pytest.raises(CorruptFileError, match=r"its tensors: .* become 67,250,000 bytes"):
        checkpoint.load(path)


def test_expanded_tensors_come_back(tmp_path: Path) -> None:
    path, packed = tmp_path / "expanded.pt", tmp_path / "expanded.packed.safetensors"
    torch.save({"w": torch.arange(10.0).expand(100, 10)}, path)
    archive.write(path, packed)
    assert torch.equal(archive.load(packed)["w"], torch.arange(10.0).expand(100, 10))
