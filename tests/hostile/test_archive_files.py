"""Hostile archives: truncations, and an index and streams that break a rule (mutations: tests/golden)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard

from sparse_export.errors import CorruptFileError, InputError
from sparse_export.exporter import archive
from sparse_export.exporter.archive.read import FORMAT, VERSION
from sparse_export.exporter.files import container, sandbox


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> bytes:
    """A small archive with every kind of segment."""
    folder = tmp_path_factory.mktemp("archive")
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(40, 50, generator=generator)
    alphas = torch.tensor([[0.5], [2.0], [3.0]])
    state = {
        "sparse": weight * (torch.rand(40, 50, generator=generator) < 0.1) + 0.0,
        "masked": (weight * (torch.rand(40, 50, generator=generator) < 0.5) + 0.0).half(),
        "signed zeros": torch.tensor([0.0, -0.0, 1.0] * 7),
        "scaled": torch.where(torch.rand(3, 20, generator=generator) < 0.5, alphas, -alphas),
        "few": torch.arange(3).repeat(20),
        "far": torch.zeros(1, 5000).index_fill(1, torch.tensor([4000, 4999]), 1.0),
        "none": torch.zeros(0, 3),
    }
    torch.save({"net": state, "acc": 1.0}, folder / "m.pt")
    archive.write(folder / "m.pt", folder / "m.packed.safetensors")
    return (folder / "m.packed.safetensors").read_bytes()


def rebuilt(packed: bytes, change_index=None, change_metadata=None, change_tensors=None) -> bytes:
    """The archive with its index (as JSON), metadata or tensors changed, and checksums made right again."""
    tensors, metadata = container.loads(packed)
    index = json.loads(zstandard.ZstdDecompressor().decompress(tensors["index"].tobytes()))
    if change_index:
        change_index(index)
    stored = zstandard.ZstdCompressor().compress(json.dumps(index).encode())
    tensors = dict(tensors) | {"index": np.frombuffer(stored, np.uint8)}
    metadata = metadata | {"index_crc32": f"{zlib.crc32(stored):08x}"}
    if change_metadata:
        change_metadata(metadata)
    if change_tensors:
        change_tensors(tensors)
    import io

    file = io.BytesIO()
    container.write(file, tensors, metadata)
    return file.getvalue()


def read(data: bytes, folder: Path, limit: int = 1 << 20) -> dict[str, np.ndarray]:
    path = folder / "x.safetensors"
    path.write_bytes(data)
    with sandbox.here():  # thousands of files
        return archive.arrays(path, threads=1, max_dense=limit)


def refused(data: bytes, folder: Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        read(data, folder)


def test_the_unbroken_archive_is_read(packed: bytes, tmp_path: Path) -> None:
    assert read(packed, tmp_path).keys() == read(rebuilt(packed), tmp_path).keys()


def test_truncations_are_refused(packed: bytes, tmp_path: Path) -> None:
    for length in range(0, len(packed), 7):
        refused(packed[:length], tmp_path, ".")
    refused(packed + b"PK\3\4", tmp_path, "describes")


def test_h05_rejects_a_future_version(packed: bytes, tmp_path: Path) -> None:
    refused(rebuilt(packed, change_metadata=lambda m: m.update(version="2")), tmp_path, "version 2 is not 1")
    assert VERSION == "1" and FORMAT in packed.decode("latin-1")


def test_h23_rejects_checksums_that_are_missing_or_wrong(packed: bytes, tmp_path: Path) -> None:
    refused(
        rebuilt(packed, change_metadata=lambda m: m.pop("index_crc32")), tmp_path, "checksum of the index"
    )
    refused(
        rebuilt(packed, change_metadata=lambda m: m.update(index_crc32="0")),
        tmp_path,
        "checksum of the index",
    )

    def wrong(index: dict) -> None:
        index["pieces"]["crc"][0] ^= 1

    refused(rebuilt(packed, wrong), tmp_path, "checksum of a tensor")


def test_h46_rejects_streams_that_are_short_long_or_bombs(packed: bytes, tmp_path: Path) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))

    def longer(tensors: dict) -> None:
        tensors["chunk0"] = np.append(tensors["chunk0"], np.uint8(0))

    def shorter(tensors: dict) -> None:
        tensors["chunk0"] = tensors["chunk0"][:-1]

    def exploding(tensors: dict) -> None:
        tensors["chunk0"] = np.resize(np.frombuffer(bomb, np.uint8), tensors["chunk0"].size)

    for change in (longer, shorter, exploding):
        refused(
            rebuilt(packed, change_tensors=change), tmp_path, "stream|zstd|chunk|checksum|outside|escapes"
        )

    def endless(tensors: dict) -> None:
        tensors["index"] = np.frombuffer(bomb, np.uint8)

    def right(metadata: dict) -> None:
        metadata["index_crc32"] = f"{zlib.crc32(bomb):08x}"

    refused(rebuilt(packed, None, right, endless), tmp_path, "index says it is 50000000 bytes")


def _set(*path: object, value: object):
    def change(index: dict) -> None:
        target = index
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_set("extra", value=1), "keys"),
        (_set("notes", value=[1]), "notes"),
        (_set("tree", value=99), "tensor 99 of"),
        (_set("tree", value=["q"]), "unknown kind"),
        (_set("tree", value=["d", ["a"], []]), "without values"),
        (_set("tree", value=["d", ["a", "a"], [0, 1]]), "twice"),
        (_set("tree", value=["i", "1_0"]), "broken integer"),
        (_set("tree", value=["i", "9" * 5000]), "broken integer"),
        (_set("tree", value=["f", "x"]), "broken number"),
        (_set("tensors", "dtype", 0, value="F7"), "wrong kind"),
        (_set("tensors", "shape", 0, value=[1 << 47, 1 << 47]), "2\\^48 bytes"),
        (_set("tensors", "shape", 0, value=[True, 5]), "wrong kind"),
        (_set("tensors", "shape", 0, value=[41, 50]), "crosses|missing|more pieces"),
        (_set("tensors", "kind", 0, value=7), "tensor kind"),
        (_set("tensors", "strides", value={"0": [1, 1]}), "fill"),
        (_set("tensors", "strides", value={"77": [1]}), "strides"),
        (_set("pieces", "size", 0, value=0), "crosses"),
        (_set("pieces", "size", 0, value=1 << 40), "crosses"),
        (_set("pieces", "entries", 0, value=1 << 40), "entries of a piece"),
        (_set("pieces", "escapes", 0, value=-1), "entries of a piece"),
        (_set("pieces", "values", 0, value=-1), "lacks a segment"),
        (_set("pieces", "values", 0, value=999), "no segment"),
        (_set("pieces", "positions", 0, value=-1), "lacks a segment"),
        (_set("pieces", "crc", 0, value=1 << 33), "checksum is out of range"),
        (_set("pieces", "crc", value=[]), "differ in length"),
        (_set("segments", "kind", 0, value=3), "segment kind"),
        (_set("segments", "streams", 0, value=[-1]), "negative stream"),
        (_set("segments", "streams", 0, value=[]), "."),
        (_set("segments", "parameters", 0, value=[1]), "1 parameters"),
        (_set("chunks", "pieces", value=[1]), "chunk counts"),
        (_set("chunks", value={"pieces": [], "segments": []}), "chunk"),
    ],
)
def test_rejects_an_index_that_breaks_a_rule(packed: bytes, tmp_path: Path, change, match: str) -> None:
    refused(rebuilt(packed, change), tmp_path, match)


@pytest.mark.parametrize("parameters", [[300, 0, 0], [-1, 0, 0], [0, 64, 0], [0, 3, 1 << 40], [255]])
def test_rejects_segment_parameters_out_of_range(
    packed: bytes, tmp_path: Path, parameters: list[int]
) -> None:
    def change(index: dict) -> None:
        kinds = index["segments"]["kind"]
        index["segments"]["parameters"][kinds.index(0)] = parameters

    refused(rebuilt(packed, change), tmp_path, "parameters|wrong kind")


def test_h35_refuses_to_expand_beyond_the_limit(packed: bytes, tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="over the limit"):
        read(packed, tmp_path, limit=1000)


def test_rejects_tensors_that_are_no_chunks(packed: bytes, tmp_path: Path) -> None:
    def renamed(tensors: dict) -> None:
        tensors["chunk1"] = tensors.pop("chunk0")

    refused(rebuilt(packed, change_tensors=renamed), tmp_path, "chunk0, chunk1")
    with_float = lambda tensors: tensors.update(chunk0=tensors["chunk0"].astype(np.float32))  # noqa: E731
    refused(rebuilt(packed, change_tensors=with_float), tmp_path, "U8 vectors")


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "x.npy", ""])
def test_rejects_shards_outside_the_folder(tmp_path: Path, shard: str) -> None:
    path = tmp_path / "m.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(CorruptFileError, match="not a file name"):
        archive.write(path, tmp_path / "p.safetensors")


def test_h74_rejects_a_truncated_shard_before_reading_it(tmp_path: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file({"w": torch.ones(100)}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-1])
    (tmp_path / "m.index.json").write_text(json.dumps({"weight_map": {"w": "a.safetensors"}}))
    with pytest.raises(CorruptFileError, match="describes 400 bytes"):
        archive.write(tmp_path / "m.index.json", tmp_path / "p.safetensors")
    assert not (tmp_path / "p.safetensors").exists()
