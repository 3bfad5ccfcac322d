"""The section on INT8 after pruning: what it costs in accuracy, and what blocks of four channels bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sparse_export.training.sweep.plots import Row

from .findings import pct, rate_of

#: Results of each net, by what was pruned together.
NETS = {
    "VGG-11": {"anywhere": "integers-vgg", "1x4 blocks": "blocks-vgg"},
    "DenseNet": {"anywhere": "integers-dense", "1x4 blocks": "blocks-dense"},
}
#: How much of the accuracy of the pruned float net may be lost.
ALLOWED = 0.006
_HEADS = (
    "net", "pruned", "rate", "float", "INT8", "agreement", "packed float", "dense INT8", "packed INT8",
    "ms: packed float", "dense INT8", "packed INT8",
)  # fmt: skip


def commands(nets: Mapping[str, str], recipes: Mapping[str, str], epochs: int, work: str) -> dict[str, str]:
    """Name of each result -> the command that makes it.

    Parameters
    ----------
    nets, recipes
        Checkpoints and options of training, by "vgg" and "dense".
    epochs
        Of retraining.
    """
    found = {}
    for kind, blocks in (("integers", ""), ("blocks", "--structure 1x4 ")):
        for net, checkpoints in nets.items():
            found[f"{kind}-{net}"] = (
                f"sweep {checkpoints} {recipes[net]} --rates 0.8,0.9,0.95 --retrain lr-rewind "
                f"--retrain-epochs {epochs} {blocks}--activations int8 --latency -o {work}/{kind}-{net}"
            )
    return found


def section(results: Mapping[str, list[Row]], held_out: int) -> str:
    """What was found, and the table of all nets, structures and rates, means over seeds."""
    return f"{_accuracy(results, held_out)} {_blocks(results)}\n\n{_table(results)}"


def _accuracy(results: Mapping[str, list[Row]], held_out: int) -> str:
    losses, agreements = {}, []
    for net, structure, rate, rows in _cases(results):
        losses[net, structure, rate] = _mean(rows, "accuracy") - _mean(rows, "int8_accuracy")
        agreements.append(_mean(rows, "int8_agreement"))
    (net, structure, rate), worst = max(losses.items(), key=lambda case: case[1])
    within = sum(loss <= ALLOWED + 1e-9 for loss in losses.values())
    return (
        f"INT8 after pruning costs {100 * worst:.1f} points at most ({round(worst * held_out)} of {held_out}"
        f" images; {net}, {structure}, {rate_of(rate)}), and is within {100 * ALLOWED:.1f} points of the "
        f"pruned float net in {within} of {len(losses)} cases; both choose the same class for "
        f"{pct(min(agreements))} of the held-out images or more."
    )


def _blocks(results: Mapping[str, list[Row]]) -> str:
    """Blocks against single weights, each after the same retraining."""
    sentences = []
    for net in dict.fromkeys(net for net, *_ in _cases(results)):
        mine = {(structure, rate): rows for name, structure, rate, rows in _cases(results) if name == net}
        rates = sorted({rate for _, rate in mine})
        gaps = [
            100
            * (_mean(mine["1x4 blocks", r], "int8_accuracy") - _mean(mine["anywhere", r], "int8_accuracy"))
            for r in rates
            if ("1x4 blocks", r) in mine and ("anywhere", r) in mine
        ]
        if gaps:
            told = ", ".join(f"{gap:+.1f} at {rate_of(rate)}" for gap, rate in zip(gaps, rates, strict=False))
            sentences.append(f"Blocks of four change the {net}'s INT8 accuracy by {told}.")
    return " ".join(sentences)


def _table(results: Mapping[str, list[Row]]) -> str:
    lines = [f"| {' | '.join(_HEADS)} |", "|---|---|" + "---:|" * (len(_HEADS) - 2)]
    for net, structure, rate, rows in _cases(results):
        shares = [pct(_mean(rows, name)) for name in ("accuracy", "int8_accuracy", "int8_agreement")]
        sizes = [
            f"{_mean(rows, name) / 1000:,.0f} kB" for name in ("onnx_bytes", "dense_int8_bytes", "int8_bytes")
        ]
        times = [
            f"{_mean(rows, name):.3g}" for name in ("latency_ms", "dense_int8_latency_ms", "int8_latency_ms")
        ]
        lines.append("| " + " | ".join([net, structure, rate_of(rate), *shares, *sizes, *times]) + " |")
    return "\n".join(lines)


def _cases(results: Mapping[str, list[Row]]) -> Iterator[tuple[str, str, float, Sequence[Row]]]:
    for net, structures in NETS.items():
        for structure, name in structures.items():
            rows = results.get(name, [])
            for rate in sorted({float(row["rate"]) for row in rows}):
                yield net, structure, rate, [row for row in rows if row["rate"] == rate]


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))
