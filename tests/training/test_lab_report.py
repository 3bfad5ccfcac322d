"""The report's sentences agree with the numbers they are made of, and every plot can be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparse_export.training.sweep import plots, ways
from tools.lab_report import experiments, findings, integers, report
from tools.lab_report import plots as report_plots


def rows(curves: dict[int, dict[float, float]], method: str = "none") -> list[dict[str, Any]]:
    return [
        {
            "seed": seed,
            "method": method,
            "rate": rate,
            "accuracy": accuracy,
            "nonzeros": round(1000 * (1 - rate)),
            "weights": 1000,
            "dense_bytes": 4000,
            "theory_bits": 32 * round(1000 * (1 - rate)),
            "entropy_bytes": 5000 - round(4000 * rate),
            "csr_bytes": 5200 - round(4000 * rate),
            "auto_bytes": 5100 - round(4000 * rate),
            "seconds": 1.0,
        }
        for seed, curve in curves.items()
        for rate, accuracy in curve.items()
    ]


def test_the_largest_rise_is_from_a_low_to_a_later_point() -> None:
    rise = findings.largest_rise([0.8, 0.82, 0.84, 0.86, 0.88], [0.9, 0.3, 0.5, 0.6, 0.1])
    assert (rise.gain, rise.start, rise.end) == (pytest.approx(0.3), 0.82, 0.86)
    assert findings.largest_rise([0.8, 0.9], [0.9, 0.5]).gain == 0


@pytest.mark.parametrize(
    ("curves", "says"),
    [
        ({0: {0.8: 0.50, 0.85: 0.51, 0.9: 0.3}, 1: {0.8: 0.5, 0.85: 0.5, 0.9: 0.3}}, "no oscillation"),
        ({0: {0.8: 0.30, 0.85: 0.60, 0.9: 0.2}, 1: {0.8: 0.6, 0.85: 0.30, 0.9: 0.2}}, "belongs to that net"),
        ({0: {0.8: 0.30, 0.85: 0.60, 0.9: 0.2}, 1: {0.8: 0.3, 0.85: 0.65, 0.9: 0.2}}, "real and shared"),
    ],
)
def test_the_oscillation_is_judged_by_the_seeds(curves: dict[int, dict[float, float]], says: str) -> None:
    assert says in findings.oscillation(rows(curves), held_out=360)


def test_the_collapse_names_the_last_free_and_the_first_lost_rate() -> None:
    text = findings.collapse(
        rows({0: {0.0: 0.99, 0.5: 0.985, 0.8: 0.4}, 1: {0.0: 0.99, 0.5: 0.985, 0.8: 0.2}}), "X"
    )
    assert "X keeps its 99.0 % to within a point up to a rate of 50 %" in text
    assert "falls below 50 % at 80 %" in text
    assert "from 20.0 % to 40.0 %" in text


def test_the_footprint_is_in_bytes_and_says_which_is_smaller() -> None:
    sizes = {"dense": 3_877_152, "theory": 296_604, "entropy": 330_000, "csr": 380_000, "auto": 340_000}
    sizes |= {"archive": 254_000, "whole": 300_000, "others": 1000, "onnx": 500_000, "onnx dense": 4_000_000}
    text = findings.footprint(sizes, 74_151)
    assert "2,372,832 are bits: 296,604 bytes (290 KiB)" in text
    assert "14% smaller than that theory" in text


def test_the_open_question_is_answered_by_the_better_mean() -> None:
    every = []
    for method in ways.METHODS:
        good = 0.9 if "rewind" in method else 0.5
        every += rows({0: {0.9: good}, 1: {0.9: good - 0.02}}, method)
    text = findings.ways(every, 0.9, 3)
    assert "the original schedule replayed is 40.0 points better" in text
    assert "2.0 points apart" in text


def test_the_iterative_ways_are_compared_with_and_without_batchnorm_reestimated() -> None:
    before = rows({0: {0.9: 0.1}}, "han") + rows({0: {0.9: 0.5}}, "han-rewind")
    after = rows({0: {0.9: 0.9}}, "han-bn") + rows({0: {0.9: 0.7}}, "han-rewind-bn")
    text = findings.rounds(before, after, 0.9)
    assert "10.0 % before, 90.0 % after" in text
    assert "running averages, which" in text
    assert "are not what" in findings.rounds(
        before, [r | {"method": f"{r['method']}-bn"} for r in before], 0.9
    )


def test_binarization_and_retraining_state_the_difference() -> None:
    scores = {"sign": 0.1, "ste": 0.9, "binaryconnect": 0.8, "xnor": 0.7}
    text = findings.binarization(0.99, scores, 360, 360, 20.0)
    assert "90% of the loss regained" in text
    assert "360 of 360" in text
    net = {"accuracy": 0.8, "nonzeros": 74_151, "weights": 969_288}
    text = findings.retraining({"accuracy": 0.2}, net, 0.9, 0.95)
    assert "(+60.0 points)" in text
    assert "is 15.0 points" in text


def test_dead_weights_are_counted_among_those_that_pruning_left() -> None:
    connected = {"dead": 250, "nonzeros": 750}
    text = findings.dead(connected, {"accuracy": 0.98}, {"accuracy": 0.97}, 400)
    assert "250 (25.0 %)" in text and "The 750 that remain retrain to 97.0 %" in text
    assert "1.0 points below the net that kept them (4 of 400 images)" in text


@pytest.mark.parametrize(("early", "says"), [(0.8, "is the order"), (0.95, "do not show that order")])
def test_rewinding_is_judged_by_the_order_of_the_paper(early: float, says: str) -> None:
    every = rows({0: {0.9: 0.7}}, "fine-tune") + rows({0: {0.9: 0.9}}, "lr-rewind")
    text = findings.rewinding(every + rows({0: {0.9: early}}, "weight-rewind"), 0.9)
    assert says in text
    assert f"changes {100 * (early - 0.9):+.1f} points" in text


def test_every_plot_is_written(tmp_path: Path) -> None:
    curves = {0: {0.0: 0.99, 0.5: 0.9, 0.9: 0.4}, 1: {0.0: 0.98, 0.5: 0.8, 0.9: 0.2}}
    every = [row for method in ways.METHODS for row in rows(curves, method)]
    written = [
        *plots.of_sweep(every, tmp_path),
        report_plots.sweep(rows(curves), "sweep", tmp_path / "a.png", 0.9235),
        report_plots.footprint({"dense": 4000, "csr": 500}, "csr", "bytes", tmp_path / "b.png"),
        report_plots.retraining({"net": (0.1, 0.9)}, "retraining", tmp_path / "c.png"),
        report_plots.binarization({"ste": [0.5, 0.9]}, {"float": 0.99}, "binary", tmp_path / "d.png"),
        report_plots.ways(every, "net", tmp_path / "e.png"),
    ]
    assert len(set(written)) == 8
    for path in written:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "one-shot" in report.ways_table(every)


@pytest.mark.parametrize("size", [experiments.DEFAULT, experiments.FULL])
def test_every_experiment_is_a_command_that_exists(size: experiments.Size) -> None:
    from sparse_export import cli

    for command in experiments.commands(size, "work").values():
        name, *arguments = command.split()
        parsed = cli.cli.get_command(None, name)  # type: ignore[arg-type]
        assert parsed is not None
        parsed.make_context(name, arguments)


def test_integers_are_judged_by_what_they_lose_and_blocks_by_what_they_change() -> None:
    row = {"accuracy": 0.99, "int8_accuracy": 0.99, "int8_agreement": 0.995, "rate": 0.9}
    row |= dict.fromkeys(("onnx_bytes", "dense_int8_bytes", "int8_bytes"), 5000)
    row |= dict.fromkeys(("latency_ms", "dense_int8_latency_ms", "int8_latency_ms"), 0.5)
    worse = row | {"int8_accuracy": 0.95, "int8_agreement": 0.96}
    text = integers.section({"integers-vgg": [row], "blocks-vgg": [row, worse]}, 100)
    assert "costs 2.0 points at most (2 of 100 images; VGG-11, 1x4 blocks, 90 %)" in text
    assert "in 1 of 2 cases" in text and "for 97.8 % of the held-out images" in text
    assert "change the VGG-11's INT8 accuracy by -2.0 at 90 %." in text
    assert text.count("| VGG-11 |") == 2
