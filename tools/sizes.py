"""tests/regression/sizes.csv: the exact bytes of the files that today's code writes.

Usage: python -m tools.sizes [--check]. Small nets from seeded numbers, in every format and as archive. A line
that changes is a file that became smaller or larger: the commit that changes it says why.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

from sparse_export import formats
from sparse_export.exporter import archive
from sparse_export.exporter.api import export
from tests.onnx_models import residual_net

TABLE = Path(__file__).resolve().parents[1] / "tests" / "regression" / "sizes.csv"
VALUES = ("fp16", "int8")
Weight = NDArray[np.float32]


def _signs(weight: Weight, rng: np.random.Generator) -> Weight:
    return np.where(rng.random(weight.shape) < 0.5, np.float32(-0.25), np.float32(0.25))


def _ternary(weight: Weight, rng: np.random.Generator) -> Weight:
    return np.sign(weight) * np.float32(0.5)


def _two_of_four(weight: Weight, rng: np.random.Generator) -> Weight:
    weight = rng.standard_normal(weight.shape).astype(np.float32)
    weight[:, 2::4] = weight[:, 3::4] = 0
    return weight


def _few_values(weight: Weight, rng: np.random.Generator) -> Weight:
    return rng.choice(np.array([-1.5, -0.5, 0, 0.5, 2], np.float32), weight.shape)


#: What a net's weights become; "sparse": 90 % zeros, as they are.
NETS = {
    "sparse": lambda weight, rng: weight,
    "signs": _signs,
    "ternary": _ternary,
    "two of four": _two_of_four,
    "few values": _few_values,
}


def net(name: str) -> onnx.ModelProto:
    """A small residual net whose weights have that pattern."""
    rng = np.random.default_rng(20260101)
    model = residual_net(rng)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".weight"):
            weight = NETS[name](numpy_helper.to_array(tensor).copy(), rng)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight), tensor.name))
    return model


def rows() -> Iterator[tuple[str, str, int]]:
    """Net, format and bytes of the file: each format that can hold the net's weights, the net's archive."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in NETS:
            source, target = place / "net.onnx", place / "out.onnx"
            onnx.save(net(name), source)
            arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(source).graph.initializer}
            save_file(arrays, place / "net.safetensors")
            yield name, "source", source.stat().st_size
            for chosen, options in _choices(arrays["b.weight"]):
                export(source, output=target, force=True, verify=False, **options)
                yield name, chosen, target.stat().st_size
            archive.write(place / "net.safetensors", place / "archive", force=True, check=False)
            yield name, "archive", (place / "archive").stat().st_size


def _choices(weight: Weight) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "auto", {}
    stats = formats.TensorStats(weight)
    for fmt in formats.all_formats():
        if fmt.applies_to(stats):
            yield fmt.name, {"format": fmt.name}
    for values in VALUES:
        yield f"csr {values}", {"format": "csr", "values": values}


def table() -> str:
    """The file's text."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(["net", "format", "bytes"])
    writer.writerows(rows())
    return target.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 1 where a size has changed and only a check was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a size has changed")
    check = parser.parse_args(arguments).check
    before = TABLE.read_text() if TABLE.exists() else ""
    text = table()
    if check:
        old, new = set(before.splitlines()), set(text.splitlines())
        for mark, lines in (("-", old - new), ("+", new - old)):
            print("".join(f"{mark} sizes.csv: {line}\n" for line in sorted(lines)), end="")
        return int(text != before)
    TABLE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
