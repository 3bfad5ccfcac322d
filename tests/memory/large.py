"""Large checkpoints and models exported, each within its bound: `make memory-test`.

Prints a line for each; fails where one takes more than its bound. Makes about 4 GB of files in a temporary
folder, which TMPDIR moves.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sparse_export

from .measured import Run, bound, export
from .sources import linear_checkpoint, matmul_model, vgg_checkpoint


def runs(folder: Path) -> Iterator[tuple[str, Path, Run]]:
    """What was exported, from what, and what it took."""
    vgg = vgg_checkpoint(folder)
    for way in ("csr", "auto"):
        yield f"VGG-11-BN, {way}", vgg, export(vgg, folder / f"vgg-{way}", "--format", way)
    model = folder / "vgg11_bn.onnx"
    sparse_export.export(vgg, format="dense", output=model, verify=False)
    for way in ("csr", "auto"):
        yield f"VGG-11-BN as .onnx, {way}", model, export(model, folder / f"onnx-{way}", "--format", way)
    model = matmul_model(folder / "matmul.onnx", 8192, 2)
    yield "two MatMul weights as .onnx, auto", model, export(model, folder / "matmul", "--format", "auto")
    source, arch = linear_checkpoint(folder, 8192, 8)
    for way in ("csr", "dense"):
        options = ["--format", way, "--arch", arch, "--input-shape", "1x8192"]
        run = export(source, folder / f"linear-{way}", *options)
        assert (len(run.files) == 2) == (way == "dense"), "what a protobuf cannot hold has a data file"
        yield f"eight linear layers, {way}", source, run


def main() -> int:
    """Export all of them; 1 if one took too much."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for what, source, run in runs(Path(folder)):
            allowed = bound(source)
            failed |= run.peak > allowed
            print(
                f"{what:36} {source.stat().st_size / 1e6:6.0f} MB  peak {run.peak / 1e9:5.2f} GB"
                f"  bound {allowed / 1e9:5.2f} GB  {run.seconds:5.1f} s{'  OVER' * (run.peak > allowed)}",
                flush=True,
            )
    return failed


if __name__ == "__main__":
    sys.exit(main())
