"""Exported programs (.pt2) made to run code when they are loaded."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparse_export.exporter import checkpoint

from .refusal import refused

pytestmark = pytest.mark.usefixtures("little_memory")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported program with a free batch, as torch.export.save writes it."""
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    batch = torch.export.Dim("batch", min=2, max=64)
    made = torch.export.export(torch.nn.Linear(4, 2), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(made, path)
    return path


def rewritten(program: Path, target: Path, change: Callable[[Any], None]) -> Path:
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("models/model.json"):
                model = json.loads(data)
                change(model)
                data = json.dumps(model).encode()
            archive.writestr(name, data)
    return target


def put(*keys: Any, value: Any) -> Callable[[Any], None]:
    """A change of the program: the item under `keys` becomes `value`."""

    def change(model: Any) -> None:
        for key in keys[:-1]:
            model = model[key]
        model[keys[-1]] = value

    return change


GRAPH = ("graph_module", "graph")
NODE = (*GRAPH, "nodes", 0)
SIZE = (*GRAPH, "tensor_values", "linear", "sizes", 0, "as_expr", "expr_str")
CALL = ("graph_module", "module_call_graph", 0, "signature", "in_spec")
WEIGHT = ("graph_module", "signature", "input_specs", 0, "parameter", "parameter_name")
CODE = "__import__('os').system('touch boom')"
ENUM = '[1, {"type": "builtins.dict", "context": "{\\"__enum__\\": true}", "children_spec": []}]'


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (put(*SIZE, value=f"{CODE}+Symbol('s0')"), "expr_str '__import__"),
        (put(*SIZE, value="().__class__"), "expr_str"),
        (put("guards_code", value=[CODE]), "guards_code"),
        (put("guards_code", value=["L['x'].__class__ == 2"]), "guards_code"),
        (
            put(*NODE, "target", value="torch.serialization.os.system"),
            "operator 'torch.serialization.os.system'",
        ),
        (put(*WEIGHT, value='x") or print("'), "parameter_name"),
        (put(*CALL, value=ENUM), "in_spec"),
    ],
)
def test_program_that_would_run_code_is_refused(
    tmp_path: Path, program: Path, change: Callable[[Any], None], what: str
) -> None:
    message = refused(rewritten(program, tmp_path / "evil.pt2", change))
    assert "loading it may run code" in message and what in message
    assert not Path("boom").exists()


def test_program_that_is_rewritten_unchanged_loads(tmp_path: Path, program: Path) -> None:
    assert checkpoint.load(rewritten(program, tmp_path / "same.pt2", lambda model: None)).kind == "pt2"


def test_damaged_program_is_one_quiet_error(tmp_path: Path, program: Path, capfd: Any) -> None:
    damaged = rewritten(
        program, tmp_path / "damaged.pt2", put(*NODE, "metadata", "nn_module_stack", value="a")
    )
    assert "damaged, or from another torch" in refused(damaged)
    assert capfd.readouterr() == ("", "")
