"""The nets people bring: pruned torchvision classifiers, exported whole and compared with torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sparse_export
from sparse_export.exporter.nets import torchvision as vision

SHAPES = {
    "resnet18": (1, 3, 64, 64),
    "densenet121": (1, 3, 64, 64),
    "mobilenet_v2": (1, 3, 64, 64),
    "vit_b_16": (1, 3, 224, 224),
}


def pruned_state(name: str) -> dict[str, torch.Tensor]:
    """A state dict with 90 % of every layer pruned, BatchNorm statistics not at their defaults."""
    torch.manual_seed(0)
    net = vision.build(name)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    for name, weight in net.named_parameters():
        if weight.ndim >= 2 and name.endswith("weight"):
            threshold = weight.abs().flatten().kthvalue(max(1, int(weight.numel() * 0.9))).values
            weight.data[weight.abs() < threshold] = 0
    return net.state_dict()


@pytest.mark.parametrize("name", SHAPES)
def test_exports_and_verifies(name: str, tmp_path: Path) -> None:
    torch.save(pruned_state(name), tmp_path / "model.pt")
    report = sparse_export.export(tmp_path / "model.pt", input_shape=[SHAPES[name]])
    assert report.arch == name
    assert report.verification is not None and report.verification.passed
    assert report.verification.top1_agreement == 1.0 and report.verification.max_abs < 1e-4
    assert report.file_bytes is not None and report.dense_file_bytes is not None
    assert report.file_bytes < 0.2 * report.dense_file_bytes
    reasons = {row["name"]: row["reason"] for row in report.weights if row["format"] == "dense"}
    assert all(
        "under" in reason or "would take" in reason or "read by Add" in reason for reason in reasons.values()
    ), reasons
