"""Exported files, inputs for them and what onnxruntime in Python computes, in a folder for JavaScript."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

import sparse_export
from sparse_export import formats
from sparse_export.exporter.nets import cifar

from ..measure.small_models import save
from ..nets import pruned

Array = NDArray[np.float32]
FORMATS = [fmt.name for fmt in formats.all_formats() if fmt.operator]
NETS = ["csr", "auto", "one-bit", "expanded"]


@dataclass
class Cases:
    """The folder, and the outputs of the runs in JavaScript by case."""

    folder: Path
    names: list[str] = field(default_factory=list)

    def add(self, name: str, source: Path, format_: str, **options: Any) -> None:
        """Export a source, and note a seeded input and the output in Python."""
        path = self.folder / f"{name}.onnx"
        sparse_export.export(source, format=format_, output=path, verify=False, **options)
        session = onnxruntime.InferenceSession(path)
        (given,) = session.get_inputs()
        shape = [2, *given.shape[1:]]
        x = np.random.default_rng(len(self.names)).standard_normal(shape, np.float32)
        (self.folder / f"{name}.x.bin").write_bytes(x.tobytes())
        (self.folder / f"{name}.y.bin").write_bytes(session.run(None, {given.name: x})[0].tobytes())
        self.names.append(name)
        inputs = [{"name": given.name, "shape": shape, "file": f"{name}.x.bin"}]
        noted = [*self.noted(), {"name": name, "inputs": inputs}]
        (self.folder / "cases.json").write_text(json.dumps(noted))

    def noted(self) -> list[dict[str, Any]]:
        """What cases.json says so far."""
        file = self.folder / "cases.json"
        found: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []
        return found

    def outputs(self, name: str, where: str) -> tuple[Array, Array]:
        """The output in Python and that of a JavaScript runtime ("node" or "web")."""
        wanted, got = (
            np.frombuffer((self.folder / f"{name}.{kind}.bin").read_bytes(), np.float32)
            for kind in ("y", where)
        )
        return wanted, got


def weight_for(name: str, rng: np.random.Generator, size: int = 64) -> Array:
    """A square weight that the format takes, rows being outputs."""
    if name in {"bitpack", "ternary", "signmask", "signgaps", "palette", "codebook"}:
        weight = rng.choice([-0.5, 0.5], (size, size)).astype(np.float32)
        if name != "bitpack":
            weight[rng.random(weight.shape) >= 0.3] = 0
        return weight
    weight = rng.standard_normal((size, size), np.float32)
    if name == "nm":
        weight[:, 1::2] = 0
    elif name == "bsr":
        weight[(np.arange(size) // 4 % 5 != 0), :] = 0
    else:
        weight[rng.random(weight.shape) >= 0.2] = 0
    return weight


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """The demo's net as csr, auto and portable, a 1-bit net, every format in a layer, a bare weight."""
    folder = tmp_path_factory.mktemp("js")
    made = Cases(folder)
    net = pruned(cifar.vgg11_cifar)
    torch.save(net.state_dict(), folder / "vgg11.pt")
    for form in ("csr", "auto"):
        made.add(form, folder / "vgg11.pt", form, arch="vgg11-cifar", optimize="memory")
    made.add("portable", folder / "vgg11.pt", "auto", arch="vgg11-cifar", portable=True)
    source = folder / "source.onnx"
    export_to_onnx(one_bit_net(), source)
    made.add("one-bit", source, "auto")
    rng = np.random.default_rng(3)
    for name in FORMATS:
        node = onnx.helper.make_node("MatMul", ["h0", "w"], ["y"], name="layer")
        weight = onnx.numpy_helper.from_array(weight_for(name, rng).T.copy(), "w")
        made.add(
            f"layer-{name}",
            save(source, [node], [weight], ["N", 64], "y", ["N", 64]),
            name,
            optimize="memory",
        )
    weight = onnx.numpy_helper.from_array(weight_for("csr", rng), "w")
    node = onnx.helper.make_node("Einsum", ["h0", "w"], ["y"], equation="ab,bc->ac")
    made.add("expanded", save(source, [node], [weight], ["N", 64], "y", ["N", 64]), "csr")
    return made


def one_bit_net() -> torch.nn.Module:
    """The lab's XNOR-Net with weights of plus or minus alpha."""
    torch.manual_seed(0)
    net = cifar.create("vgg11-cifar-xnor").eval()
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)][1:]
    for layer in layers:
        alpha = layer.weight.detach().abs().flatten(1).mean(1).view(-1, 1, 1, 1)
        layer.weight.data = torch.where(layer.weight < 0, -alpha, alpha)
    return net


def export_to_onnx(net: torch.nn.Module, path: Path) -> None:
    """Write a net for 3 x 32 x 32 images, the batch open, by torch's own exporter."""
    example, axes = (torch.zeros(1, 3, 32, 32),), {"x": [0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it speaks of its successor
        torch.onnx.export(net, example, path, dynamo=False, input_names=["x"], dynamic_axes=axes)
