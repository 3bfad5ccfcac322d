"""Exported programs whose archive, tensors or text would make torch run code, in every place that could."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparse_export.exporter import api, checkpoint
from sparse_export.exporter.files.expression import canonical

from .builders import members_of, refused, written

Members = dict[str, bytes]
WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
CODE = "__import__('os').system('touch boom')"


class Boom:
    def __reduce__(self) -> Any:
        return os.system, ("touch boom",)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 2)
            self.shift = torch.arange(2.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) + self.shift + x.shape[0]

    path = tmp_path_factory.mktemp("program") / "model.pt2"
    batch = torch.export.Dim("batch", min=2, max=64)
    torch.export.save(torch.export.export(Net(), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},)), path)
    return path


def change(member: str, *keys: Any, value: Any) -> Callable[[Members], None]:
    """The JSON of a member with the item under `keys` changed; "*" stands for the first key."""

    def apply(members: Members) -> None:
        whole = json.loads(members[member])
        place = whole
        for key in keys[:-1]:
            place = place[next(iter(place)) if key == "*" else key]
        place[keys[-1]] = value
        members[member] = json.dumps(whole).encode()

    return apply


def add(name: str, data: bytes) -> Callable[[Members], None]:
    return lambda members: members.update({name: data})


def both(*changes: Callable[[Members], None]) -> Callable[[Members], None]:
    def apply(members: Members) -> None:
        for one in changes:
            one(members)

    return apply


def constant(path: str, **more: Any) -> Callable[[Members], None]:
    """One more constant, called `c`."""
    meta = {
        "dtype": 1, "sizes": [{"as_int": 4}], "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}, "layout": 7,
    }  # fmt: skip
    entry = {"path_name": path, "is_param": False, "use_pickle": False, "tensor_meta": meta} | more
    return change(CONSTANTS, "config", "c", value=entry)


def second_program(members: Members) -> None:
    members["models/model.jsom"] = members["models/model.json"].replace(
        b"Symbol(", CODE.encode() + b"+Symbol("
    )


def keys_twice(members: Members) -> None:
    text = members[WEIGHTS]
    members[WEIGHTS] = text.replace(b'"use_pickle": false', b'"use_pickle": true, "use_pickle": false', 1)


def inputs_of(value: Any) -> bytes:
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()


FIRST = ("config", "*")
META = (*FIRST, "tensor_meta")
EVIL = pickle.dumps(Boom())
SIZES = {
    "code": CODE,
    "code beside a symbol": f"{CODE}+Symbol('s0')",
    "attribute": "().__class__",
    "attribute of a function": "Max.__init__",
    "comprehension": "[x for x in (1,)]",
    "lambda": "(lambda: 1)()",
    "string": "'a'",
    "string in a symbol": "Symbol('s0\\'')",
    "symbol of code": "Symbol(open('x'))",
    "symbol with another assumption": "Symbol('s0', commutative=True)",
    "unknown function": "eval(1)",
    "unknown name": "os",
    "keyword": "Max(a=1)",
    "subscript": "s0[0]",
    "tower of powers": "9**9**9",
    "power of powers": "Pow(Pow(Integer(9), Integer(60)), Integer(60))",
    "shift": "LShift(Integer(1), Integer(100000000))",
    "power of a symbol": "Pow(Integer(2), Symbol('s0'))",
    "long number": "9" * 5000,
    "deep": "(" * 500 + "1" + ")" * 500,
    "wide": "+".join(["s0"] * 5000),
    "assignment": "(s0 := 1)",
    "conditional": "1 if s0 else 2",
    "starred": "Max(*(1,))",
    "format": "f'{s0}'",
    "nothing": "",
    "letter of another script": "Ｍax(1)",
}


@pytest.mark.parametrize("text", SIZES.values(), ids=SIZES)
def test_expression_outside_the_grammar_is_refused(text: str) -> None:
    assert canonical(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Add(FloorDiv(Add(Symbol('s0', integer=True), Integer(-1)), Integer(2)), Integer(1))",
        "Mul(Integer(2), Pow(Symbol('s0'), Integer(2)))",
        "StrictLessThan(Symbol('u0', integer=True), Integer(100))",
        "s0 + 2 * s1 // 3 - 1",
        "Max(1, s0)",
    ],
)
def test_expression_that_torch_writes_is_kept(text: str) -> None:
    assert canonical(text) == text


CASES: dict[str, tuple[Callable[[Members], None], str]] = {
    "constant of another class": (
        both(constant("opaque_obj_0/tensor_0"), add("data/constants/opaque_obj_0/tensor_0", EVIL)),
        "no part of",
    ),
    "constant of another class, by name": (
        both(constant("opaque_obj_0"), add("data/constants/opaque_obj_0", EVIL)), "no part of"
    ),
    "script object": (both(constant("custom_obj_0"), add("data/constants/custom_obj_0", EVIL)), "no part of"),
    "constant that names another record": (constant("../../models/model.json"), "a custom object"),
    "constant in the weights": (constant("weight_0"), "a custom object"),
    "constant without bytes": (constant("tensor_99"), "has no bytes"),
    "constant with a key more": (constant("tensor_0", extra=1), "unknown way"),
    "pickle by one": (change(WEIGHTS, *FIRST, "use_pickle", value=1), "a pickle"),
    "pickle by text": (change(WEIGHTS, *FIRST, "use_pickle", value="no"), "a pickle"),
    "pickle by a list": (change(WEIGHTS, *FIRST, "use_pickle", value=[0]), "a pickle"),
    "pickle by true": (change(WEIGHTS, *FIRST, "use_pickle", value=True), "a pickle"),
    "pickle by nothing": (change(WEIGHTS, *FIRST, "use_pickle", value=None), "a pickle"),
    "pickle by a key twice": (keys_twice, "a key twice"),
    "second program": (second_program, "models/model.jsom"),
    "second program in a folder": (add("models/x/model.json", b"{}"), "no part of a program"),
    "weights in the old way": (add("data/weights/model.pt", EVIL), "no part of a program"),
    "constants in the old way": (add("data/constants/model.pt", EVIL), "no part of a program"),
    "compiled library": (add("data/aotinductor/model/x.so", b"\x7fELF"), "AOTInductor"),
    "example inputs that run code": (
        add("data/sample_inputs/model.pt", inputs_of(((Boom(),), {}))), "posix.system"
    ),
    "example inputs that are a pickle": (add("data/sample_inputs/model.pt", EVIL), "zip|damaged"),
    "weight beyond its bytes": (
        change(WEIGHTS, *META, "sizes", value=[{"as_int": 1 << 40}] * 2), "claims|shape"
    ),
    "weight beyond its bytes, by an offset": (
        change(WEIGHTS, *META, "storage_offset", value={"as_int": 1 << 40}), "claims"
    ),
    "weight whose size is text": (change(WEIGHTS, *META, "sizes", value=[{"as_int": "4"}] * 2), "shape"),
    "weight whose size is code": (
        change(WEIGHTS, *META, "sizes", value=[{"as_expr": {"expr_str": CODE}}] * 2), "shape that is none"
    ),
    "weight of another dtype": (change(WEIGHTS, *META, "dtype", value=99), "unknown dtype"),
    "weight whose dtype is true": (change(WEIGHTS, *META, "dtype", value=True), "unknown dtype"),
    "weight of another layout": (change(WEIGHTS, *META, "layout", value=1), "unknown dtype or layout"),
    "weight on a device": (
        change(WEIGHTS, *META, "device", value={"type": "cuda", "index": 0}), "another device"
    ),
    "no configuration": (lambda members: members.pop(WEIGHTS) and None, "is missing"),
    "another version": (add("archive_version", b"0;import os"), "archive_version says"),
    "nested json": (add("models/model.json", b"[" * 100_000), "nested"),
    "operator that writes a file": (
        change("models/model.json", "graph_module", "graph", "nodes", 0, "target",
               value="torch.ops.aten.from_file.default"), "from_file"
    ),
    "operator of a module": (
        change("models/model.json", "graph_module", "graph", "nodes", 0, "target", value="torch.hub.load"),
        "torch.hub.load",
    ),
    "operator with code for a name": (
        change("models/model.json", "graph_module", "graph", "nodes", 0, "target",
               value="torch.ops.aten.__class__.__init__"), "__class__|operator"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("alter", "what"), CASES.values(), ids=CASES)
def test_program_file_that_is_more_than_tensors_and_arithmetic_is_refused(
    tmp_path: Path, program: Path, alter: Callable[[Members], None], what: str
) -> None:
    import re

    members = members_of(program)
    alter(members)
    path = written(tmp_path / "evil.pt2", members)
    message = refused(tmp_path, lambda: checkpoint.load(path))
    assert re.search(what, message), message
    assert not Path("boom").exists()
    assert "posix.system" in message or refused(tmp_path, lambda: api.inspect(path)) == message


def test_program_that_is_honest_is_loaded_and_computes_the_same(tmp_path: Path, program: Path) -> None:
    members = members_of(program) | {"extra/notes.txt": b"left out"}
    path = written(tmp_path / "good.pt2", members)
    loaded = checkpoint.load(path).program
    expected = torch.export.load(program)
    for rows in (2, 5):
        x = torch.randn(rows, 4)
        assert torch.equal(loaded.module()(x), expected.module()(x))
