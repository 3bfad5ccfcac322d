"""Pruning and binarizing what has no net: state dicts as they are, and ONNX models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from sparse_export.errors import InputError
from sparse_export.training import prune, runs
from sparse_export.training.beginning import DataSpec
from sparse_export.training.outcome import Outcome
from sparse_export.training.run_binarize import run_binarize
from sparse_export.training.run_prune import run_prune


def half(weights: dict[str, torch.Tensor]) -> prune.Masks:
    return prune.choose(weights, 0.5)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word_embedding = nn.Embedding(30, 8)
        self.lstm = nn.LSTM(8, 6)
        self.norm = nn.LayerNorm(6)
        self.out = nn.Linear(6, 30)


def pruned(tmp_path: Path, state: dict[str, torch.Tensor], *given: Iterable[str], **options: bool) -> Outcome:
    torch.save(state, tmp_path / "tagger.pt")
    return run_prune(tmp_path / "tagger.pt", tmp_path / "small.pt", None, half, *given, **options)


def density(path: Path) -> dict[str, float]:
    state = torch.load(path, weights_only=True)
    return {name: float((t != 0).float().mean()) for name, t in state.items() if t.dim() > 1}


def test_a_state_dict_of_an_unknown_net_keeps_its_names_and_loses_its_smallest_weights(
    tmp_path: Path,
) -> None:
    state = Tagger().state_dict()
    outcome = pruned(tmp_path, state)
    assert (outcome.arch, outcome.nonzeros, outcome.weights, outcome.accuracy) == (
        "state dict",
        90,
        180,
        None,
    )
    back = torch.load(tmp_path / "small.pt", weights_only=True)
    assert list(back) == list(state)
    kept = state["out.weight"].abs() > state["out.weight"].abs().median()
    assert torch.equal(back["out.weight"], torch.where(kept, state["out.weight"], torch.zeros(())))
    assert all(torch.equal(back[n], state[n]) for n in state if n != "out.weight")


@pytest.mark.parametrize(
    ("layers", "kinds", "hit"),
    [
        ((), ("rnn",), {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}),
        ((), ("embedding", "linear"), {"word_embedding.weight", "out.weight"}),
        (("lstm.*hh*",), (), {"lstm.weight_hh_l0"}),
        (("out", "word*"), (), {"out.weight", "word_embedding.weight"}),
    ],
)
def test_recurrent_and_embedding_weights_are_pruned_by_choice(
    tmp_path: Path, layers: tuple[str, ...], kinds: tuple[str, ...], hit: set[str]
) -> None:
    pruned(tmp_path, Tagger().state_dict(), layers, kinds)
    assert {name for name, share in density(tmp_path / "small.pt").items() if share < 1} == hit


def test_a_named_net_has_its_recurrent_weights_pruned_too(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.LSTM(8, 6)\n")
    torch.save(nn.LSTM(8, 6).state_dict(), tmp_path / "lstm.pt")
    arch = f"{tmp_path / 'net.py'}:make"
    outcome = run_prune(tmp_path / "lstm.pt", tmp_path / "small.pt", arch, half, (), ("rnn",))
    assert (outcome.nonzeros, outcome.weights) == (168, 336)
    shares = density(tmp_path / "small.pt")
    assert sum(shares[n] * w for n, w in (("weight_ih_l0", 192), ("weight_hh_l0", 144))) == pytest.approx(168)


def test_masks_are_kept_beside_the_weights(tmp_path: Path) -> None:
    state = Tagger().state_dict()
    pruned(tmp_path, state, keep_masks=True)
    back = torch.load(tmp_path / "small.pt", weights_only=True)
    assert torch.equal(back["out.weight_orig"], state["out.weight"]) and back["out.weight_mask"].sum() == 90


def test_tied_weights_stay_tied_and_safetensors_are_written(tmp_path: Path) -> None:
    state = Tagger().state_dict()
    state["head.weight"] = state["out.weight"]
    pruned(tmp_path, state)
    back = torch.load(tmp_path / "small.pt", weights_only=True)
    assert back["head.weight"].data_ptr() == back["out.weight"].data_ptr()
    target = tmp_path / "small.safetensors"
    run_prune(tmp_path / "tagger.pt", target, None, half)
    assert target.read_bytes()[8:9] == b"{"


def model(tmp_path: Path) -> Path:
    """Conv, Gemm with either transposition, MatMul behind a Transpose, LSTM: all in one file."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    weights = {"c": weight(4, 1, 3, 3), "g": weight(16, 12), "m": weight(5, 12), "w": weight(1, 16, 5)}
    weights |= {"r": weight(1, 16, 4), "shape": np.array([0, -1], np.int64)}
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("Gemm", ["b", "g"], ["d"], transB=0),
        helper.make_node("Transpose", ["m"], ["mt"], perm=[1, 0]),
        helper.make_node("MatMul", ["d", "mt"], ["e"]),
        helper.make_node("Unsqueeze", ["e", "axis"], ["f"]),
        helper.make_node("LSTM", ["f", "w", "r"], ["y"], hidden_size=4),
    ]
    weights["axis"] = np.array([0], np.int64)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2, 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    onnxruntime.InferenceSession(path)
    return path


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def test_an_onnx_file_is_pruned_by_magnitude_and_still_runs(tmp_path: Path) -> None:
    path, out = model(tmp_path), tmp_path / "small.onnx"
    outcome = run_prune(path, out, None, half)
    before, after = initializers(path), initializers(out)
    chosen = {"c", "g", "m"}
    size = sum(before[n].size for n in chosen)
    assert (outcome.arch, outcome.nonzeros, outcome.weights) == ("onnx", size // 2, size)
    smallest = np.median(np.abs(np.concatenate([before[n].ravel() for n in chosen])))
    for name in before:
        want = np.where(np.abs(before[name]) > smallest, before[name], 0) if name in chosen else before[name]
        assert np.array_equal(after[name], want)
    onnxruntime.InferenceSession(out)


def test_structures_of_an_onnx_file_follow_its_layers_outputs(tmp_path: Path) -> None:
    path, out = model(tmp_path), tmp_path / "small.onnx"
    run_prune(path, out, None, lambda w: prune.choose(w, 0.5, structure="channel", scope="layer"))
    after = initializers(out)
    assert (np.abs(after["g"]).sum(0) == 0).sum() == 6  # [in, out]
    assert (np.abs(after["m"]).sum(1) == 0).sum() == 2  # [out, in] behind a Transpose
    run_prune(path, tmp_path / "rnn.onnx", None, half, (), ("rnn",))
    assert np.count_nonzero(initializers(tmp_path / "rnn.onnx")["w"]) < 80


def test_a_graph_is_pruned_without_masks_data_or_a_net(tmp_path: Path) -> None:
    path, out = model(tmp_path), tmp_path / "x.onnx"
    with pytest.raises(InputError, match="no masks to keep"):
        run_prune(path, out, None, half, keep_masks=True)
    with pytest.raises(InputError, match="need a checkpoint"):
        run_prune(path, out, None, half, remove_dead=True)
    with pytest.raises(InputError, match="no layer matches"):
        run_prune(path, out, None, half, ("nothing",))
    assert not out.exists()


def sign(source: Path, out: Path, **options: bool) -> Outcome:
    nowhere = DataSpec("folder:/nowhere")
    return run_binarize(source, out, None, nowhere, runs.Recipe(), "sign", evaluate=False, **options)


def test_signs_need_neither_data_nor_a_net(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    assert sign(tmp_path / "net.pt", tmp_path / "binary.pt").accuracy is None
    back = torch.load(tmp_path / "binary.pt", weights_only=True)
    assert torch.equal(back["0.weight"], net[0].weight) and torch.equal(back["2.weight"], net[2].weight)
    alpha = net[1].weight.detach().abs().mean(1, keepdim=True)
    assert torch.equal(back["1.weight"], torch.where(net[1].weight >= 0, alpha, -alpha))


def test_signs_of_an_onnx_file_have_an_alpha_for_each_output(tmp_path: Path) -> None:
    path, out = model(tmp_path), tmp_path / "binary.onnx"
    sign(path, out)
    before, after = initializers(path), initializers(out)
    assert np.allclose(np.abs(after["g"]), np.abs(before["g"]).mean(0), rtol=1e-6)  # g is [in, out]
    assert np.array_equal(after["c"], before["c"]) and np.array_equal(after["m"], before["m"])
