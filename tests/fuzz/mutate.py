"""Mutations that know the format: the damage lies behind the checks of lengths, checksums and syntax."""

from __future__ import annotations

import io
import json
import pickletools
import random
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import zstandard

from sparse_export.exporter.files import container

from ..hostile.builders import zipped

NUMBERS = (
    *(0, 1, -1, 2, 7, 255, 256, 65535, 1 << 24, (1 << 31) - 1, 1 << 31),
    *(1 << 40, (1 << 48) - 1, 1 << 62, (1 << 63) - 1, 1 << 64),
)
TEXTS = ("", "a", "0", "\u202e", "\ud800", "a" * 5000)
VALUES = (None, True, False, 0.5, float("inf"), *TEXTS, [], {}, [[]], [0] * 9)
#: What one pickle can be given in the place of an operation.
OPERATIONS = [bytes([code]) for code in b"(.)]}tesuabRQN0\x81\x85\x86\x87\x88\x89\x8f\x90\x93\x94"] + [
    b"K\x05", b"J\xff\xff\xff\x7f", b"h\x00", b"q\x00", b"X\x01\0\0\0a", b"G" + bytes(8),
    b"\x8a\x09" + b"\x7f" * 9,
    b"cbuiltins\nbytearray\n", b"cos\nsystem\n", b"c_codecs\nencode\n", b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n", b"cnumpy\ndtype\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
]  # fmt: skip
OPERATORS = (
    "Expand", "Tile", "Range", "ConstantOfShape", "Loop", "If", "Scan", "Concat", "Conv", "Gemm", "Reshape",
    "Identity", "Pad", "Resize", "OneHot", "EyeLike", "Cast", "Gather", "Constant",
    "SequenceConstruct", "Nothing",
)  # fmt: skip


def mutate(kind: str, data: bytes, rng: random.Random) -> bytes:
    """A damaged copy of a seed of that kind."""
    if rng.random() < 0.25:
        return _bytes(data, rng)
    return _MUTATORS[kind](data, rng)


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, a range cut out, doubled or moved, the end cut off or added to."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if not made:
            break
        at = rng.randrange(len(made))
        size = rng.choice((1, 2, 4, 8, 64))
        match rng.randrange(6):
            case 0:
                made[at] ^= 1 << rng.randrange(8)
            case 1:
                made[at : at + size] = rng.choice(NUMBERS).to_bytes(10, "little", signed=True)[:size]
            case 2:
                del made[at : at + size]
            case 3:
                made[at:at] = made[at : at + size]
            case 4:
                del made[at:]
            case 5:
                made += rng.randbytes(size)
    return bytes(made)


def _json(value: Any, rng: random.Random) -> Any:
    """A JSON value with one place in it changed."""
    place, key, holder = value, None, None
    while isinstance(place, (dict, list)) and place and (holder is None or rng.random() < 0.9):
        holder = place
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        place = place[key]
    if holder is None or key is None:
        return rng.choice(VALUES)
    match rng.randrange(6):
        case 0 | 1:
            holder[key] = rng.choice(NUMBERS)
        case 2:
            holder[key] = rng.choice(VALUES)
        case 3:
            del holder[key]
        case 4 if isinstance(holder, list):
            holder[key:key] = [place] * rng.choice((1, 3, 200))
        case 4:
            holder[rng.choice(("", "a", "__metadata__", "0"))] = place
        case 5:
            holder[key] = [place]
    return value


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = _dumped(_json(json.loads(data[8 : 8 + length]), rng))
    if rng.random() < 0.1:
        header = header[:-1] + b"," + header[1:]  # every key twice
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _archive(data: bytes, rng: random.Random) -> bytes:
    """The index or a stream changed, the checksum of the index made right again."""
    tensors, metadata = container.loads(data)
    tensors = dict(tensors)
    if rng.random() < 0.25:
        name = rng.choice(list(tensors))
        tensors[name] = np.frombuffer(_bytes(tensors[name].tobytes(), rng), np.uint8)
    else:
        index = json.loads(zstandard.ZstdDecompressor().decompress(tensors["index"].tobytes()))
        for _ in range(rng.choice((1, 1, 3))):
            index = _json(index, rng) if isinstance(index, (dict, list)) else index
        tensors["index"] = np.frombuffer(zstandard.ZstdCompressor().compress(_dumped(index)), np.uint8)
    metadata["index_crc32"] = f"{zlib.crc32(tensors['index'].tobytes()):08x}"
    file = io.BytesIO()
    container.write(file, tensors, metadata)
    return file.getvalue()


def _members(data: bytes) -> list[tuple[bytes, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name.encode(), archive.read(name)) for name in archive.namelist()]


def _operations(pickle: bytes, rng: random.Random) -> bytes:
    """A pickle with operations taken out, doubled, swapped or put in."""
    starts = [place for _, _, place in pickletools.genops(pickle) if place is not None]
    parts = [pickle[a:b] for a, b in zip(starts, [*starts[1:], len(pickle)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(1, len(parts))
        match rng.randrange(5):
            case 0:
                del parts[at]
            case 1:
                parts[at:at] = [parts[at]] * rng.choice((1, 2, 300))
            case 2:
                parts[at] = rng.choice(OPERATIONS)
            case 3:
                parts[at:at] = [rng.choice(OPERATIONS)]
            case 4:
                other = rng.randrange(1, len(parts))
                parts[at], parts[other] = parts[other], parts[at]
        if len(parts) < 3:
            break
    return b"".join(parts)


def _pt(data: bytes, rng: random.Random) -> bytes:
    members = _members(data)
    at = 0 if rng.random() < 0.8 else rng.randrange(len(members))
    name, content = members[at]
    changed = _operations(content, rng) if name.endswith(b"data.pkl") else _bytes(content, rng)
    members[at] = (name, changed)
    if rng.random() < 0.1:
        members.append((_bytes(name, rng), content))
    options = (
        {rng.choice(("flags", "method", "size", "stored")): rng.choice(NUMBERS[:9])}
        if rng.random() < 0.1
        else {}
    )
    return zipped(members, **{key: value & 0xFFFF for key, value in options.items()})


def end_of(data: bytes) -> int:
    """Bytes of the pickle that `data` begins with."""
    return max(place for _, _, place in pickletools.genops(data) if place is not None) + 1


def _legacy(data: bytes, rng: random.Random) -> bytes:
    """One of the five pickles changed."""
    starts = [0]
    for _ in range(5):
        starts.append(starts[-1] + end_of(data[starts[-1] :]))
    at = rng.choice((0, 1, 2, 3, 3, 3, 4))
    inner = _operations(data[starts[at] : starts[at + 1]], rng)
    return data[: starts[at]] + inner + data[starts[at + 1] :]


def _pt2(data: bytes, rng: random.Random) -> bytes:
    members = _members(data)
    texts = [i for i, (name, _) in enumerate(members) if name.endswith(b".json")]
    at = rng.choice(texts) if rng.random() < 0.8 else rng.randrange(len(members))
    name, content = members[at]
    changed = _dumped(_json(json.loads(content), rng)) if at in texts else _bytes(content, rng)
    members[at] = (name, changed)
    return zipped(members)


def _fields(message: Any, rng: random.Random) -> None:
    """One field somewhere in a protobuf changed."""
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = rng.choice(fields)
        repeated = not isinstance(value, (int, float, str, bytes)) and hasattr(value, "__len__")
        if field.message_type is not None:
            if repeated and rng.random() < 0.2:
                if rng.random() < 0.5:
                    del value[rng.randrange(len(value))]
                else:
                    value.append(value[rng.randrange(len(value))])
                return
            message = value[rng.randrange(len(value))] if repeated else value
            continue
        _scalar(message, field, value, repeated, rng)
        return


def _scalar(message: Any, field: Any, value: Any, repeated: bool, rng: random.Random) -> None:
    sample = value[0] if repeated else value
    if isinstance(sample, str):
        new: Any = rng.choice(
            OPERATORS if field.name == "op_type" else ("", "x", "w", "s", "y", "\x1b[2J", "a" * 3000)
        )
    elif isinstance(sample, bytes):
        new = _bytes(sample, rng)
    elif isinstance(sample, float):
        new = rng.choice((0.0, -1.0, 1e38, float("nan")))
    else:
        new = rng.choice(NUMBERS[:-1])
    try:
        if repeated:
            value[rng.randrange(len(value))] = new
        else:
            setattr(message, field.name, new)
    except (ValueError, TypeError):  # out of the field's range
        message.ClearField(field.name)


def _onnx(data: bytes, rng: random.Random) -> bytes:
    model = onnx.ModelProto()
    model.ParseFromString(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _fields(model.graph if rng.random() < 0.8 else model, rng)
    return model.SerializeToString()


_MUTATORS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "safetensors": _safetensors, "archive": _archive, "pt": _pt, "legacy": _legacy,
    "onnx": _onnx, "packed": _onnx, "export": _onnx, "pt2": _pt2,
}  # fmt: skip
