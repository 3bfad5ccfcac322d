"""The smallest file: decoders, headers and nodes counted, and never a file bigger than its source."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import sparse_export
from sparse_export.exporter.graph.find import find
from sparse_export.exporter.graph.index import GraphIndex
from sparse_export.exporter.graph.normalize import normalize
from sparse_export.exporter.plan import pack, plan
from sparse_export.exporter.rewrite import smallest
from sparse_export.exporter.rewrite.write import rewrite

from ..onnx_models import model, pruned

FORMATS = ("auto", "csr", "split", "bitmask", "tight", "dense")


def chain(weights: list[np.ndarray], activations: list[str]) -> onnx.ModelProto:
    """Convolutions one behind the other, an activation (or none, "") behind each."""
    nodes, x = [], "X"
    for place, activation in enumerate(activations):
        y = "Y" if place == len(weights) - 1 and not activation else f"c{place}"
        nodes.append(helper.make_node("Conv", [x, f"w{place}"], [y], name=f"conv{place}"))
        x = y
        if activation:
            x = "Y" if place == len(weights) - 1 else f"a{place}"
            nodes.append(helper.make_node(activation, [y], [x]))
    constants = {f"w{place}": weight for place, weight in enumerate(weights)}
    return model(nodes, constants, ["n", weights[0].shape[1], 8, 8], 4)


def written(dense: onnx.ModelProto, choice: dict[str, str] | None, name: str = "auto") -> int:
    """Bytes of the packed model, with the formats given, or settled."""
    dense = normalize(dense)
    index = GraphIndex(dense)
    plans = plan.make(index, find(index), name, list((choice or {}).items()))
    if choice is None:
        smallest.settle(index, dense, plans)
    return rewrite(index, dense, plans, pack.pack(plans)).ByteSize()


@pytest.mark.parametrize("seed", range(4))
def test_no_other_choice_of_formats_makes_a_smaller_file(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(size) for size in rng.integers(8, 48, 4)]
    weights = [
        pruned(rng, b, a, 1, 1, density=float(rng.choice([0.03, 0.2, 0.6])))
        for a, b in itertools.pairwise(sizes)
    ]
    activations = [str(rng.choice(["", "Relu"])) for _ in weights]
    settled = written(chain(weights, activations), None)
    names = ("csr", "split", "bitmask", "tight", "dense")
    for choice in itertools.product(names, repeat=len(weights)):
        other = written(
            chain(weights, activations), {f"w{k}": name for k, name in enumerate(choice)}, "dense"
        )
        assert settled <= other + 40, (choice, settled, other)


def test_one_decoder_serves_all_layers_where_a_second_one_does_not_pay(rng: np.random.Generator) -> None:
    weights = [pruned(rng, 64, 64, 1, 1, density=0.1), pruned(rng, 64, 64, 1, 1, density=0.4)]
    dense = normalize(chain(weights, ["Relu", "Relu"]))
    index = GraphIndex(dense)
    plans = plan.make(index, find(index), "auto")
    smallest.settle(index, dense, plans)
    assert len({row.format for row in plans}) == 1


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("size", [16, 24, 40, 80])
def test_no_file_is_bigger_than_its_source(
    tmp_path: Path, rng: np.random.Generator, size: int, format_name: str
) -> None:
    source, target = tmp_path / "net.onnx", tmp_path / "small.onnx"
    onnx.save(chain([pruned(rng, size, size, 1, 1, density=0.1)], ["Relu"]), source)
    report = sparse_export.export(source, format=format_name, output=target)
    assert target.stat().st_size <= source.stat().st_size
    assert report.dense_file_bytes <= source.stat().st_size
    packed = any(row["format"] != "dense" for row in report.layers)
    assert packed or any("as it is" in text for _, text in report.notes)


def test_auto_is_never_bigger_than_any_format(tmp_path: Path, rng: np.random.Generator) -> None:
    source = tmp_path / "net.onnx"
    shapes = [(48, 32), (32, 48), (200, 32), (16, 200)]
    weights = [
        pruned(rng, *shape, 1, 1, density=d) for shape, d in zip(shapes, (0.1, 0.3, 0.05, 0.6), strict=True)
    ]
    onnx.save(chain(weights, ["", "Relu", "", "Relu"]), source)
    sizes = {
        name: sparse_export.export(source, format=name, output=tmp_path / f"{name}.onnx").file_bytes
        for name in FORMATS
    }
    assert sizes["auto"] == min(sizes.values())


def test_what_is_left_after_slow_layers_went_back_must_still_pay_for_its_decoder(
    rng: np.random.Generator,
) -> None:
    weights = [pruned(rng, 24, 24, 1, 1, density=0.1), pruned(rng, 90, 24, 3, 3, density=0.1)]
    dense = normalize(chain(weights, ["Relu", "Relu"]))
    index = GraphIndex(dense)
    plans = plan.make(index, find(index), "csr")
    smallest.settle(index, dense, plans)
    assert [row.format for row in plans] == ["csr", "csr"]
    plans[1].stay_dense("expected slower")
    smallest.settle(index, dense, plans, measured=True)
    assert plans[0].format == "dense" and "decoder" in plans[0].reason
