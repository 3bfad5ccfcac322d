"""Tables of benchmarks/results: all of them for docs/results.md, a small one for README.md."""

from __future__ import annotations

import json
from pathlib import Path

from .result_tables import (
    Document,
    binary,
    defaults,
    every_net,
    formats,
    kernels,
    loads,
    memory,
    milliseconds,
    models,
    sizes,
    table,
)

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def where(document: Document, command: str) -> str:
    """Date, machine, versions and command of a result."""
    machine = document["machine"]
    versions = machine["versions"]
    return (
        f"<sub>{machine['date']}, {machine['cpu']} with {_vectors(machine['flags'])}, "
        f"{machine['cpus']} cores, onnxruntime {versions['onnxruntime']}: `{command}`</sub>"
    )


def _vectors(flags: list[str]) -> str:
    return "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "baseline x86-64"


SECTIONS = (
    ("sizes", "Sizes, nets trained on real digits", sizes, "python benchmarks/sizes.py"),
    ("every-net", "Nets of other kinds, without an option", every_net, "python benchmarks/every_net.py"),
    ("models", "Speed with the operators registered", models, "python benchmarks/models.py"),
    (
        "defaults",
        "Exported without an option, on two kinds of machines",
        defaults,
        "python benchmarks/defaults.py",
    ),
    (
        "kernels",
        "Layers alone",
        kernels,
        "python benchmarks/kernels.py --density 0.1 0.2 --targets avx512 avx2 scalar",
    ),
    (
        "kernels-formats",
        "Linear 4096 x 4096 in every format",
        formats,
        "python benchmarks/kernels.py --formats --rows 1 --targets avx512 avx2",
    ),
    (
        "memory",
        "Memory with the operators registered, 90 % zeros",
        memory,
        "python benchmarks/models.py --memory",
    ),
    ("loads", "Loading packed files, 90 % zeros", loads, "python benchmarks/loads.py"),
    (
        "binary",
        "Binarized layers and nets",
        binary,
        "python benchmarks/binary.py --targets avx512vnni avx2 scalar",
    ),
)


#: Rows of the README's table: title, file, what picks the row, dense, packed, the peer and its name.
_HIGHLIGHTS = (
    ("ResNet-50, 90 % zeros", "models", ("model", "resnet50", 0.9), "int8", "dense INT8"),
    ("ResNet-50, 95 % zeros", "models", ("model", "resnet50", 0.95), "int8", "dense INT8"),
    ("DenseNet-121, 90 % zeros", "models", ("model", "densenet121", 0.9), "int8", "dense INT8"),
    ("VGG-11-BN, 90 % zeros", "models", ("model", "vgg11_bn", 0.9), "int8", "dense INT8"),
    (
        "Linear 4096², one row, 90 % zeros",
        "kernels",
        ("layer", "linear 4096 M=1", 0.1),
        "4bit",
        "4-bit",
    ),
    (
        "XNOR-Net VGG-11, 1-bit weights and activations",
        "binary",
        ("name", "XNOR-Net VGG-11", None),
        "int8",
        "dense INT8",
    ),
)


def highlights() -> str:
    """Nets and layers on one thread, packed beside dense and the strongest peer; the fastest in bold."""
    rows, documents = [], {}
    for title, file, (key, name, share), peer, peer_name in _HIGHLIGHTS:
        path = RESULTS / f"{file}.json"
        if not path.exists():
            continue
        documents[file] = json.loads(path.read_text())
        for row in documents[file]["rows"]:
            wanted = share is None or share in (row.get("sparsity"), row.get("density"))
            if row[key] != name or not wanted or row.get("threads", 1) != 1:
                continue
            if file != "models" and not row["target"].startswith("avx512"):
                continue
            held = row.get("ms", row)
            times = [held.get("dense", held.get("fp32")), held.get("sparse", held.get("ours")), held[peer]]
            dense, packed, other = (milliseconds(value, times) for value in times)
            rows.append((title, dense, packed, f"{times[0] / times[1]:.1f}x", f"{other} ({peer_name})"))
    text = table("ms, one thread | dense float32 | packed | faster | what else one would take", rows)
    return f"{text}\n\n{where(documents['models'], 'make benchmarks')}"


def page() -> str:
    """docs/results.md."""
    return f"""# Results

Every published figure, with its date, machine and command; where a peer is faster it is in bold. How they are
measured: [benchmarking.md](benchmarking.md), [sizes.md](sizes.md). GPU figures: [gpu.md](gpu.md).

{render()}
"""


def render() -> str:
    """All tables whose results are there."""
    parts = []
    for name, title, build, command in SECTIONS:
        path = RESULTS / f"{name}.json"
        if path.exists():
            document = json.loads(path.read_text())
            if content := build(document):
                parts.append(f"**{title}**\n\n{content}\n\n{where(document, command)}")
    from . import integer_results

    parts += integer_results.sections()
    bench = RESULTS / "vgg11.md"
    if bench.exists():
        parts.append(f"**`sparse-export bench` on the demo's net**\n\n{bench.read_text().strip()}")
    return "\n\n".join(parts)
