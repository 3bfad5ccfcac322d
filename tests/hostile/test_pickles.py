"""Pickles that make much of little, never end, or name what is no data."""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparse_export.exporter import archive, checkpoint
from sparse_export.exporter.files import torch_file

from .builders import checkpoint_of, integer, name, refused, text

STORAGE = (
    b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x04tQ"
)  # four floats


def tensor(offset: int, size: bytes, stride: bytes) -> bytes:
    """A tensor on the storage of four floats."""
    head = name("torch._utils", "_rebuild_tensor_v2") + b"(" + STORAGE + integer(offset) + size + stride
    return head + b"\x89" + name("collections", "OrderedDict") + b")RtR"


def shape(*sizes: int) -> bytes:
    return b"(" + b"".join(integer(size) for size in sizes) + b"t"


def held(value: bytes) -> bytes:
    return b"}" + text("a") + value + b"s"


def doubling(width: int, depth: int) -> bytes:
    """Dicts of one dict, again and again: `width ** depth` objects of a few bytes."""
    body = b"}q\x00"
    for level in range(1, depth + 1):
        refer = b"h" + bytes([level - 1])
        items = b"".join(b"M" + struct.pack("<H", i) + refer for i in range(width))
        body += b"0" * 0 + b"}(" + items + b"uq" + bytes([level])
    return b"(" + body + b"t"


def doubling_lists(depth: int) -> bytes:
    body = b"]q\x00"
    for level in range(1, depth + 1):
        body += b"](" + (b"h" + bytes([level - 1])) * 2 + b"eq" + bytes([level])
    return b"(" + body + b"t"


def encoded_again(times: int) -> bytes:
    encode = name("_codecs", "encode")
    body = encode + text("a" * 200) + text("latin1") + b"\x86R"
    for _ in range(times):
        body = encode + body + text("hex") + b"\x86R"
    return body


def colliding(count: int) -> bytes:
    """Integers of one hash."""
    prime = (1 << 61) - 1
    return b"}(" + b"".join(integer(prime * (i + 1)) + b"N" for i in range(count)) + b"u"


def scalar(dtype: str, raw: bytes) -> bytes:
    made = name("numpy", "dtype") + text(dtype) + b"\x89\x88\x87R"
    return name("numpy._core.multiarray", "scalar") + made + b"C" + bytes([len(raw)]) + raw + b"\x86R"


FOUR = (b"a/data/0", bytes(16))
CASES = {
    "bytes of any size": (held(name("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R"), "bytearray"),
    "bytes of any size, by the old name": (
        held(name("__builtin__", "bytearray") + b"J\xff\xff\xff\x7f\x85R"), "bytearray"
    ),
    "bytes of any size, named on the stack": (
        held(text("builtins") + text("bytearray") + b"\x93" + b"J\xff\xff\xff\x7f\x85R"), "bytearray"
    ),
    "text coded again and again": (held(encoded_again(28)), "_codecs.encode"),
    "text coded once by another codec": (
        held(name("_codecs", "encode") + text("a") + text("zlib") + b"\x86R"), "_codecs.encode"
    ),
    "a numpy scalar of a gigabyte": (held(scalar("V1000000000", b"")), "numpy dtype"),
    "a numpy string of a gigabyte": (held(scalar("S1000000000", b"")), "numpy dtype"),
    "a numpy structure": (held(scalar("i4,i4", bytes(8))), "numpy dtype"),
    "a numpy object": (held(scalar("O", bytes(8))), "numpy dtype"),
    "a numpy scalar of a wrong size": (held(scalar("f8", bytes(4))), "wrong size"),
    "a key whose hash recurses": (b"})" + b"\x85" * 100_000 + b"K\x01s", "nested more|key"),
    "a million nested tuples": (b")" + b"\x85" * 1_000_000, "nested more"),
    "nested lists": (held(b"]" * 5000 + b"a" * 4999), "nested more"),
    "nested dicts": ((b"}" + text("a")) * 5000 + b"}" + b"s" * 5000, "nested more"),
    "more operations than any checkpoint": (held(b"(" + b"N" * 3_000_000 + b"t"), "operations"),
    "a dict of dicts of one dict": (doubling(400, 4), "expand to|nested"),
    "sixty levels of the same two lists": (doubling_lists(60), "expand to|nested"),
    "a list in itself": (b"]q\x00h\x00a", "holds itself"),
    "a dict in itself": (b"}q\x00" + text("a") + b"h\x00s", "holds itself"),
    "keys of one hash": (colliding(3000), "no key"),
    "tuples of one hash": (
        b"}(" + b"".join(b"K\x00K\x00K\x00\x87N" for _ in range(1500)) + b"u", "no key"
    ),
    "complex keys": (b"}(" + name("builtins", "complex") + (b"G" + bytes(8)) * 2 + b"\x86RNu", "no key"),
    "an integer of a megabyte": (held(b"\x8b\x00\x00\x10\x00" + bytes(1 << 20)), "operation"),
    "an integer of 200 bytes": (held(b"\x8a\xc8" + b"\x7f" * 200), "more than 32 bytes"),
    "text that is longer than the file": (held(b"X\xff\xff\xff\x7fabc"), "ends too early"),
    "text of half a character": (b"}X\x03\0\0\0\xed\xa0\x80Ns", "can't decode"),
    "an object of a class": (name("os", "system") + b")\x81", "posix.system|os.system"),
    "a function as a value": (held(name("torch._utils", "_rebuild_tensor_v2")), "_rebuild_tensor_v2"),
    "a state for a list": (held(b"]}b"), "list"),
    "a state with a class in it": (
        held(name("collections", "OrderedDict") + b")R}" + text("__class__") + b"Nsb"), "state of a dict"
    ),
    "an instance of a dict": (held(name("collections", "OrderedDict") + b")\x81"), "OrderedDict"),
    "the extension registry": (held(b"\x82\x01"), "operation"),
    "an old instance": (held(b"(ios\nsystem\n"), "operation"),
    "memory that was never filled": (held(b"h\x63"), "remembers no object"),
    "more taken than there is": (b"}sss", "ends too early|takes more"),
    "a tensor beyond its storage": (held(tensor(0, shape(5), shape(1))), "reaches element 5"),
    "a tensor beyond its storage, by an offset": (held(tensor(1 << 60, shape(1), shape(1))), "reaches"),
    "a tensor beyond its storage, by strides": (held(tensor(0, shape(2, 2), shape(1 << 40, 1))), "reaches"),
    "a negative offset": (held(tensor(-1, shape(1), shape(1))), "an offset"),
    "a negative stride": (held(tensor(3, shape(2), shape(-1))), "stride out of range"),
    "an empty shape that overflows": (
        held(tensor(0, shape(0, 1 << 40, 1 << 40), shape(1, 1, 1))), "too large"
    ),
    "a shape of a hundred axes": (held(tensor(0, shape(*[1] * 100), shape(*[1] * 100))), "shape"),
    "a shape that is no number": (held(tensor(0, b"(G" + bytes(8) + b"t", shape(1))), "shape out of range"),
    "a storage that is not there": (
        held(tensor(0, shape(1), shape(1)).replace(text("0"), text("9"))), "is missing"
    ),
    "a storage of another size": (
        held(tensor(0, shape(1), shape(1)).replace(b"K\x04tQ", b"K\x05tQ")), "should have 20"
    ),
    "a storage of no type": (
        held(tensor(0, shape(1), shape(1)).replace(name("torch", "FloatStorage"), b"N")), "of no type"
    ),
    "gradients from a hook": (
        held(name("torch._utils", "_rebuild_parameter") + b"(" + b"NNt" + b"R"), "without a tensor"
    ),
    "a device of any name": (held(name("torch", "device") + text("x" * 99) + b"\x85R"), "a device"),
    "protocol 0": (b"\x80\x00}", "protocol"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "what"), CASES.values(), ids=CASES)
def test_pickle_that_is_more_than_data_is_refused(tmp_path: Path, body: bytes, what: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(checkpoint_of(body, FOUR))
    message = refused(tmp_path, lambda: checkpoint.load(path))
    assert re.search(what, message), message


def test_shared_lists_never_end_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(checkpoint_of(doubling_lists(60), FOUR))
    refused(tmp_path, lambda: archive.write(path, tmp_path / "out.packed.safetensors"))


def read(path: Path, *, zipped: bool = True, mmap: bool = True) -> Any:
    return torch_file.read_torch(path, zipped=zipped, trust=False, mmap=mmap)


HONEST: dict[str, Any] = {
    "tensors": {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)},
    "text": {"acc": 0.5, "n": 3, "big": 1 << 70, "name": "ü", "raw": b"ab", "none": None, "yes": True},
    "lists": [[1, 2.5, "a"], (1, (2, 3)), {"k": [torch.zeros(2)]}],
    "ordered": OrderedDict(a=torch.zeros(1), b=1),
    "default": defaultdict(list, a=[1]),
    "numpy": {"acc": np.float64(0.25), "n": np.int64(3), "flag": np.bool_(True)},
    "keys": {1: 2, "a": 3, (1, "b"): 4, 0.5: 5},
    "types": {
        "d": torch.device("cpu"),
        "t": torch.float16,
        "s": torch.Size([1, 2]),
        "c": 1 + 2j,
        "set": {1, 2},
    },
}


@pytest.mark.parametrize("value", HONEST.values(), ids=HONEST)
@pytest.mark.parametrize(("protocol", "legacy"), [(2, False), (4, False), (5, False), (2, True)])
def test_what_torch_saves_is_read_as_torch_reads_it(
    tmp_path: Path, value: Any, protocol: int, legacy: bool
) -> None:
    path = tmp_path / "model.pt"
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    expected = torch.load(path, weights_only=False)
    for mmap in (True, False):
        found = read(path, zipped=not legacy, mmap=mmap)
        assert type(found) is type(expected) and repr(found) == repr(expected)


def test_tied_views_and_parameters_keep_their_storage(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    value = {
        "a": base,
        "tied": base,
        "view": base.reshape(3, 4).t(),
        "tail": base[4:],
        "p": torch.nn.Parameter(base),
    }
    value["neg"] = torch.ones(2, dtype=torch.complex64).conj().imag
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pt"
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        found = read(path, zipped=not legacy)
        assert all(torch.equal(found[k], v.detach()) for k, v in value.items())
        pointers = {found[k].untyped_storage().data_ptr() for k in ("a", "tied", "view", "tail")}
        assert len(pointers) == 1 and isinstance(found["p"], torch.nn.Parameter)
        assert found["view"].stride() == value["view"].stride()


def test_weights_are_mapped_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(1 << 20)}, path)
    found = read(path)["w"]
    with Path("/proc/self/maps").open() as maps:
        mapped = [line.split()[0] for line in maps if str(path) in line]
    spans = [[int(part, 16) for part in span.split("-")] for span in mapped]
    assert any(start <= found.data_ptr() < stop for start, stop in spans)


def test_every_optimizer_state_is_read(tmp_path: Path) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "model.pt"
    torch.save(
        {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}, path
    )
    assert torch.equal(read(path)["model"]["weight"], net.weight.detach())


def test_plain_pickle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    made = io.BytesIO()
    pickle.dump({"a": 1}, made)
    path.write_bytes(made.getvalue())
    assert "a plain pickle" in refused(tmp_path, lambda: checkpoint.load(path))
