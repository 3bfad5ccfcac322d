"""Small honest files of every kind, for mutation: each holds all that its kind can hold."""

from __future__ import annotations

import io
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from sparse_export.exporter import api, archive

KINDS = ("safetensors", "archive", "pt", "legacy", "onnx", "packed", "pt2", "export")


def state() -> OrderedDict[str, torch.Tensor]:
    """Weights of several dtypes and layouts, two of them tied."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(8, 12, generator=generator)
    result = OrderedDict(weight=weight * (weight.abs() > 1), half=weight.half()[:2], empty=torch.zeros(0, 3))
    result["tied"] = result["weight"]
    result["turned"] = weight.t()
    result["count"] = torch.tensor(3)
    result["signs"] = torch.sign(weight)
    result._metadata = OrderedDict(a={"version": 1})  # type: ignore[attr-defined]
    return result


def checkpoint() -> dict[str, Any]:
    """What a training script saves."""
    return {
        "net": state(),
        "acc": np.float64(0.5),
        "epoch": 3,
        "args": {"lr": 0.1, "name": "a", "list": [1, (2.0, None)], "raw": b"ab"},
        "counts": defaultdict(list, a=[1]),
        "coo": torch.eye(3).to_sparse(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


def model() -> onnx.ModelProto:
    """A small net with a branch, a loop and folded constants."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((8, 4)).astype(np.float32) * (generator.random((8, 4)) < 0.3)
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Not", ["c"], ["co"]), helper.make_node("Add", ["a", "one"], ["ao"])],
        "body",
        [
            info("i", TensorProto.INT64, []),
            info("c", TensorProto.BOOL, []),
            info("a", TensorProto.FLOAT, None),
        ],
        [info("co", TensorProto.BOOL, []), info("ao", TensorProto.FLOAT, None)],
    )
    for value in (body.input[2], body.output[1]):
        value.type.tensor_type.shape.dim.add().dim_param = "n"
        value.type.tensor_type.shape.dim.add().dim_value = 4
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ConstantOfShape", ["s"], ["z"]),
        helper.make_node("Add", ["h", "z"], ["k"]),
        helper.make_node("Loop", ["times", "yes", "k"], ["l"], body=body),
        helper.make_node("Relu", ["l"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [info("x", TensorProto.FLOAT, ["n", 8])],
        [info("y", TensorProto.FLOAT, ["n", 4])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.int64([4]), "s"),
            numpy_helper.from_array(np.float32(1), "one"),
            numpy_helper.from_array(np.int64(2), "times"),
            numpy_helper.from_array(np.bool_(True), "yes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def make(folder: Path) -> dict[str, bytes]:
    """The seed of every kind."""
    seeds: dict[str, bytes] = {}
    for kind, zipped in (("pt", True), ("legacy", False)):
        made = io.BytesIO()
        torch.save(checkpoint(), made, _use_new_zipfile_serialization=zipped)
        seeds[kind] = made.getvalue()
    plain = {name: tensor.contiguous().clone() for name, tensor in state().items()}
    seeds["safetensors"] = safetensors.torch.save(plain, {"format": "pt"})
    torch.save({"net": state()}, folder / "seed.pt")
    archive.write(folder / "seed.pt", folder / "seed.packed.safetensors")
    seeds["archive"] = (folder / "seed.packed.safetensors").read_bytes()
    onnx.save(model(), folder / "seed.onnx")
    seeds["onnx"] = seeds["export"] = (folder / "seed.onnx").read_bytes()
    large = model()
    rows = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    rows[np.random.default_rng(2).random((64, 64)) < 0.9] = 0
    large.graph.initializer[0].CopyFrom(numpy_helper.from_array(rows, "w"))
    large.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.int64([64]), "s"))
    large.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 64
    large.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 64
    inner = large.graph.node[3].attribute[0].g
    for value in (inner.input[2], inner.output[1]):
        value.type.tensor_type.shape.dim[1].dim_value = 64
    onnx.save(large, folder / "large.onnx")
    api.export(folder / "large.onnx", output=folder / "packed.onnx", format="csr")
    seeds["packed"] = (folder / "packed.onnx").read_bytes()
    batch = torch.export.Dim("batch", min=2, max=64)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    program = torch.export.export(net, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "seed.pt2")
    seeds["pt2"] = (folder / "seed.pt2").read_bytes()
    return seeds
