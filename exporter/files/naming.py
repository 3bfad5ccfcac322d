"""What a file is called where nobody says."""

from __future__ import annotations

from pathlib import Path

from . import shards


def default_output(
    model: Path,
    format: str,
    optimize: str = "size",
    measure: bool = False,
    portable: bool = False,
    activations: str = "float",
) -> Path:
    """Where `export` writes when it is not told: beside the model, what was asked for in the name.

    Examples
    --------
    >>> [str(default_output(Path("net.pt"), *way)) for way in (("auto",), ("csr",), ("auto", "speed"))]
    ['net.auto.onnx', 'net.csr.onnx', 'net.speed.onnx']
    >>> str(default_output(Path("net.pt"), "csr", "speed", measure=True))
    'net.csr.tuned.onnx'
    >>> str(default_output(Path("net.pt"), "auto", portable=True))
    'net.portable.onnx'
    >>> str(default_output(Path("net.pt"), "auto", activations="int8"))
    'net.int8.onnx'

    A folder with a checkpoint is named by itself, `.` too, which has nothing beside it but what is in it.
    """
    ways = [activations] if activations != "float" else []
    if measure or optimize != "size" or portable:
        ways.append("tuned" if measure else optimize if optimize != "size" else "portable")
    words = [format] if format != "auto" or not ways else []
    return model.parent / ".".join([shards.stem(model), *words, *ways, "onnx"])
