"""What the numbers say: the sentences of the lab report, each chosen by the measurement it states."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparse_export.training.sweep.plots import Row, spread
from sparse_export.training.sweep.ways import METHODS


def pct(value: float) -> str:
    """A share for people: 99.7 %."""
    return f"{100 * value:.1f} %"


def rate_of(value: float) -> str:
    """A pruning rate for people, with all its digits: 92.35 %."""
    return f"{100 * value:.4g} %"


def mean_at(rows: Sequence[Row], rate: float, method: str | None = None) -> float:
    """Mean accuracy over seeds at that rate."""
    found = [
        r["accuracy"]
        for r in rows
        if abs(r["rate"] - rate) < 1e-9 and (method is None or r["method"] == method)
    ]
    return float(np.mean(found))


def apart(rows: Sequence[Row], rate: float, methods: Sequence[str]) -> float:
    """How far the best and the worst seed of one method lie apart at that rate, on average."""
    spreads = []
    for method in methods:
        found = [r["accuracy"] for r in rows if r["method"] == method and abs(r["rate"] - rate) < 1e-9]
        spreads.append(max(found) - min(found))
    return float(np.mean(spreads))


def collapse(rows: Sequence[Row], net: str) -> str:
    """Where pruning without retraining stops being free, and where the net is gone."""
    rates, mean, low, high, seeds = spread(rows, "rate", "accuracy")
    free = max(rate for rate, value in zip(rates, mean, strict=True) if value >= mean[0] - 0.01)
    gone = next((rate for rate, value in zip(rates, mean, strict=True) if value < 0.5), None)
    wide = int(np.argmax(high - low))
    first = (
        f"Without any retraining {net} keeps its {pct(mean[0])} to within a point up to a rate of "
        f"{rate_of(free)}"
        + (f" and falls below 50 % at {rate_of(gone)}" if gone is not None else " and never falls below 50 %")
        + f" (means of {seeds} seeds)."
    )
    gap = float(high[wide] - low[wide])
    second = (
        f"The seeds differ most at {rate_of(rates[wide])}, from {pct(low[wide])} to {pct(high[wide])}: "
        + (
            "a single net's curve says little about where exactly it falls."
            if gap > 0.05
            else "the place of the fall belongs to net and training, not to the seed."
        )
    )
    return f"{first} {second}"


@dataclass(frozen=True)
class Rise:
    """The largest gain in accuracy that pruning *more* brought a net, between two neighbouring rates."""

    gain: float
    start: float
    end: float


def largest_rise(rates: Sequence[float], values: Sequence[float]) -> Rise:
    """The largest rise of a curve from any low to any later point."""
    best, low = Rise(0.0, rates[0], rates[0]), 0
    for index in range(1, len(rates)):
        if values[index] < values[low]:
            low = index
        elif values[index] - values[low] > best.gain:
            best = Rise(float(values[index] - values[low]), rates[low], rates[index])
    return best


def oscillation(rows: Sequence[Row], held_out: int, first: float = 0.60, last: float = 0.90) -> str:
    """Is the oscillation in that range real? Judged by the seeds, against the error of counting."""
    zone = [r for r in rows if first - 1e-9 <= r["rate"] <= last + 1e-9]
    seeds = sorted({r["seed"] for r in zone})
    rises = {}
    for seed in seeds:
        curve = sorted((r["rate"], r["accuracy"]) for r in zone if r["seed"] == seed)
        rises[seed] = largest_rise([x for x, _ in curve], [y for _, y in curve])
    rates, mean, *_ = spread(zone, "rate", "accuracy")
    common = largest_rise(list(rates), list(mean))
    top = max(rises, key=lambda seed: rises[seed].gain)
    level = float(np.mean(mean))
    error = 2 * math.sqrt(2 * level * (1 - level) / held_out)
    first_sentence = (
        f"Between {rate_of(first)} and {rate_of(last)} the largest rise of a single net is "
        f"{100 * rises[top].gain:.1f} points "
        f"(seed {top}, from {rate_of(rises[top].start)} to {rate_of(rises[top].end)}; the others: "
        f"{', '.join(f'{100 * rises[s].gain:.1f}' for s in seeds if s != top)}), where {held_out} "
        "held-out images "
        f"leave an error of about ±{100 * error:.1f} points on the difference of two independent "
        "measurements."
    )
    if rises[top].gain <= error:
        verdict = (
            "So on these nets there is no oscillation beyond the error of counting: what looks like "
            "one in a single "
            "run is within it."
        )
    elif common.gain <= error:
        verdict = (
            f"So a single net does oscillate, but the mean over {len(seeds)} seeds rises by "
            f"{100 * common.gain:.1f} "
            "points at most: the bump belongs to that net, not to the rate, and one run cannot tell "
            "the two apart."
        )
    else:
        verdict = (
            f"So the rise is real and shared: the mean over {len(seeds)} seeds too gains "
            f"{100 * common.gain:.1f} points "
            f"from {rate_of(common.start)} to {rate_of(common.end)}."
        )
    late = [r["accuracy"] for r in zone if r["rate"] >= 0.8 - 1e-9]
    place = (
        f" (The original saw its oscillation at 85 %; there these nets, trained for a few epochs, are at "
        f"{pct(mean_at(zone, 0.85))} already.)"
        if late and float(np.mean(late)) < 0.3 and any(abs(r["rate"] - 0.85) < 1e-9 for r in zone)
        else ""
    )
    return f"{first_sentence} {verdict}{place}"


def footprint(sizes: Mapping[str, int], nonzeros: int) -> str:
    """The correct units, and how the real files compare with the theory."""
    theory, archive, rest = sizes["theory"], sizes["archive"], sizes["others"]
    relation = "smaller" if archive < theory else "larger"
    coded = (
        ", below that because it codes the values' exponents too" if sizes["auto"] < sizes["entropy"] else ""
    )
    return (
        f"The lab's {nonzeros:,} x 32 = {32 * nonzeros:,} are bits: {theory:,} bytes "
        f"({theory / 1024:.0f} KiB), and "
        "they leave out where the non-zeros are. With the entropy of the positions and 32 bits a "
        "value that comes to "
        f"{sizes['entropy']:,} bytes; narrow CSR takes {sizes['csr']:,}, the best format of each layer "
        f"{sizes['auto']:,}{coded}: {sizes['dense'] / sizes['auto']:.1f}x below dense. In the "
        "lossless archive the "
        f"same weights are {archive:,} bytes, {abs(1 - archive / theory):.0%} {relation} than that "
        "theory; the archive "
        f"of the whole checkpoint is {sizes['whole']:,}, because the formula forgets {rest:,} more numbers "
        f"({4 * rest:,} bytes: biases and BatchNorm) that no pruning touches. The verified ONNX file is "
        f"{sizes['onnx']:,} bytes against {sizes['onnx dense']:,} dense."
    )


def retraining(pruned: Mapping[str, Any], retrained: Mapping[str, Any], dense: float, unpruned: float) -> str:
    """What retraining brings the pruned and the unpruned net."""
    gain = retrained["accuracy"] - pruned["accuracy"]
    rest = dense - retrained["accuracy"]
    return (
        f"At the chosen rate retraining takes the net from {pct(pruned['accuracy'])} to "
        f"{pct(retrained['accuracy'])} "
        f"({100 * gain:+.1f} points) with exactly {retrained['nonzeros']:,} non-zeros before and after. "
        f"The unpruned net goes from {pct(dense)} to {pct(unpruned)} on the same schedule, so "
        + (
            f"the price of losing {rate_of(1 - retrained['nonzeros'] / retrained['weights'])} of the weights "
            f"is {100 * (unpruned - retrained['accuracy']):.1f} points."
            if rest > 0 or unpruned > retrained["accuracy"]
            else "losing the weights costs nothing that these held-out images can show."
        )
    )


def dead(
    pruned: Mapping[str, Any], retrained: Mapping[str, Any], connected: Mapping[str, Any], held_out: int
) -> str:
    """What lies on no path from input to output, and what retraining without it reaches."""
    gone, left = pruned["dead"], pruned["nonzeros"]
    lost = retrained["accuracy"] - connected["accuracy"]
    return (
        f"Of the weights that this pruning leaves, {gone:,} ({pct(gone / (gone + left))}) lead to or from "
        "neurons without any input or output left; Han et al. remove those too (`--remove-dead`). The "
        f"{left:,} that remain retrain to {pct(connected['accuracy'])} on the same schedule, "
        f"{100 * abs(lost):.1f} points {'below' if lost > 0 else 'above'} the net that kept them "
        f"({round(held_out * abs(lost))} of {held_out} images)."
    )


def binarization(dense: float, scores: Mapping[str, float], same: int, total: int, ratio: float) -> str:
    """How much of what sign() loses comes back, and what the 1-bit file does."""
    lost = dense - scores["sign"]
    back = (
        {m: (scores[m] - scores["sign"]) / lost for m in ("ste", "binaryconnect", "xnor")} if lost > 0 else {}
    )
    first = (
        f"sign() alone takes the net from {pct(dense)} to {pct(scores['sign'])}; trained through the "
        "sign it reaches "
        f"{pct(scores['ste'])} with scaled weights (BinaryConnect {pct(scores['binaryconnect'])}, "
        "XNOR with binary "
        f"activations too {pct(scores['xnor'])})"
    )
    regained = f", which is {back['ste']:.0%} of the loss regained." if back else "."
    second = (
        f"The 1-bit file of the trained net is {ratio:.1f}x smaller than the dense ONNX file and in "
        "stock onnxruntime "
        f"gives the same class as the checkpoint in torch on {same} of {total} held-out images."
    )
    return f"{first}{regained} {second}"


def ways(rows: Sequence[Row], rate: float, epochs: int, rounds: int = 3) -> str:
    """The answer to the open question: which weights and which learning rate to go on with."""
    methods = [m for m in dict.fromkeys(r["method"] for r in rows) if m not in ("none", "bn")]
    score = {m: mean_at(rows, rate, m) for m in methods}
    seeds = len({r["seed"] for r in rows})
    ranking = sorted(methods, key=lambda m: -score[m])
    listing = ", ".join(f"{METHODS[m][0]} {pct(score[m])}" for m in ranking)
    none, repaired = mean_at(rows, rate, "none"), mean_at(rows, rate, "bn")
    per_round = max(1, epochs // rounds)
    first = (
        f"At {rate_of(rate)} with the same {epochs} epochs (iterative: {min(rounds, epochs)} rounds of "
        f"{per_round}; means "
        f"of {seeds} seeds): {listing}; without retraining {pct(none)}, with BatchNorm re-estimated "
        f"{pct(repaired)}."
    )
    replay = np.mean([score["lr-rewind"], score["han-rewind"]])
    small = np.mean([score["fine-tune"], score["han"]])
    in_rounds = np.mean([score["han"], score["han-rewind"]])
    once = np.mean([score["fine-tune"], score["lr-rewind"]])
    winner = "the original schedule replayed" if replay >= small else "a small one"
    pruning = "in rounds" if in_rounds >= once else "at once"
    second = (
        "All of them go on from the surviving trained weights; what has to be set for the "
        "subsequent training is the "
        f"learning rate, and {winner} is {100 * abs(replay - small):.1f} points better than the other. "
        f"Pruning {pruning} is {100 * abs(in_rounds - once):.1f} points better on this budget, and "
        "the best way of all "
        f"is: {METHODS[ranking[0]][0]}; the seeds of one way lie {100 * apart(rows, rate, methods):.1f} "
        "points apart on "
        "average, so smaller differences say nothing."
    )
    return f"{first} {second}"


def rounds(rows: Sequence[Row], repaired: Sequence[Row], rate: float) -> str:
    """How much of the iterative ways' loss is BatchNorm's running averages not following short rounds."""
    seeds = sorted({row["seed"] for row in repaired})
    same = [row for row in rows if row["seed"] in seeds]
    pairs = [
        (mean_at(same, rate, way), mean_at(repaired, rate, f"{way}-bn"), METHODS[way][0])
        for way in ("han", "han-rewind")
    ]
    told = "; ".join(f"{name}: {pct(before)} before, {pct(after)} after" for before, after, name in pairs)
    gain = float(np.mean([after - before for before, after, _ in pairs]))
    verdict = (
        "So most of what the iterative ways lose here is not their weights but BatchNorm's running "
        "averages, which do "
        "not follow rounds this short; compare rounds with ways at once only after re-estimating them."
        if gain > 0.1
        else "So BatchNorm's running averages are not what the iterative ways lose here."
    )
    which = ", ".join(map(str, seeds))
    return f"With BatchNorm re-estimated after the last round (seed {which}): {told}. {verdict}"


def rewinding(rows: Sequence[Row], rate: float) -> str:
    """Which weights to retrain from: the trained ones, at two learning rates, or those of an early epoch."""
    score = {way: mean_at(rows, rate, way) for way in ("fine-tune", "weight-rewind", "lr-rewind")}
    seeds = len({row["seed"] for row in rows})
    listing = ", ".join(f"{METHODS[way][0]} {pct(score[way])}" for way in score)
    expected = score["lr-rewind"] >= score["weight-rewind"] > score["fine-tune"]
    early = score["weight-rewind"] - score["lr-rewind"]
    return (
        "Weight rewinding needs nets whose early weights were kept, so it has nets of its own. At "
        f"{rate_of(rate)} (means of {seeds} seeds): {listing}. "
        + (
            "That is the order Renda et al. 2020 found"
            if expected
            else "Renda et al. 2020 found learning-rate rewinding at least as good as weight rewinding, and "
            "both better than the small rate; these nets do not show that order"
        )
        + f"; going back to the weights of the first epoch changes {100 * early:+.1f} points against "
        "keeping the trained ones on the same schedule, where the seeds of one way lie "
        f"{100 * apart(rows, rate, list(score)):.1f} points apart on average."
    )
