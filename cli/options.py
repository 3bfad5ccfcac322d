"""Options that several commands share, with their parsing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FunctionT = Callable[..., Any]


class ShapeType(click.ParamType[tuple[int, ...]]):
    """`1x3x32x32` as a tuple of positive integers."""

    name = "SHAPE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if not all(len(part) < 12 and part.isascii() and part.isdigit() for part in parts) or not all(
            0 < int(part) < 1 << 31 for part in parts
        ):
            self.fail(
                f"'{value}' is no shape; write positive numbers joined by x, for example 1x3x224x224",
                param,
                ctx,
            )
        return tuple(int(part) for part in parts)


class NamedShapeType(click.ParamType[tuple[Any, ...]]):
    """`1x3x32x32`, or `NAME=1x3x32x32` as a pair of the name and the shape; `NAME=` for a scalar."""

    name = "[NAME=]SHAPE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        name, equals, shape = str(value).rpartition("=")
        if equals and not name:
            self.fail(f"'{value}' names no input; write NAME=SHAPE, for example ids=1x128", param, ctx)
        sizes = () if equals and not shape else ShapeType().convert(shape, param, ctx)
        return (name, sizes) if equals else sizes


class NotNegative(click.ParamType[float]):
    """A finite number that is not negative."""

    name = "NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"'{value}' is no number", param, ctx)
        if not 0 <= number < float("inf"):
            self.fail(f"'{value}' must be finite and not negative", param, ctx)
        return number


def together(*wanted: Any) -> Callable[[FunctionT], FunctionT]:
    """Several click options as one decorator, shown in the order given."""

    def decorate(function: FunctionT) -> FunctionT:
        for option in reversed(wanted):
            function = option(function)
        return function

    return decorate


def _limit(ctx: click.Context, param: click.Parameter, value: float | None) -> None:
    """Put a limit for reading in force while the command runs."""
    from ..exporter.files import budget

    if value is not None:
        size = int(value * 10**9)
        limits = {"dense": size} if param.name == "max_dense" else {"memory": size}
        ctx.with_resource(budget.raised(**limits))


#: What reading a file that nobody vouches for may cost.
limit_options = together(
    click.option(
        "--max-dense",
        type=click.FloatRange(0, 1e6, min_open=True),
        metavar="GB",
        expose_value=False,
        callback=_limit,
        help="What the file may expand to.  [default: 1000 times its size]",
    ),
    click.option(
        "--max-memory",
        type=click.FloatRange(0, 1e6, min_open=True),
        metavar="GB",
        expose_value=False,
        callback=_limit,
        help="Memory for reading, beside three times the file.  [default: 0.2]",
    ),
)

#: How to read the model: architecture, input shapes, trust.
source_options = together(
    click.option("--arch", metavar="NAME|FILE.py:FACTORY", help="Architecture of a state dict."),
    click.option(
        "--input-shape",
        multiple=True,
        type=NamedShapeType(),
        help="Shape of an input, e.g. 1x3x32x32 or ids=1x128; repeat it for more, in their order or by name.",
    ),
    click.option(
        "--input",
        type=click.Path(path_type=Path, dir_okay=False),
        help=".npz file with arrays for the inputs, by name.  [default: seeded ones that the model takes]",
    ),
    click.option("--input-dtype", multiple=True, metavar="DTYPE", help="Dtype of an input, e.g. int64."),
    click.option(
        "--dynamic",
        multiple=True,
        metavar="NAME:AXIS",
        help="Keep this dimension of an input open too, e.g. input_ids:1; the batch is open anyway.",
    ),
    click.option(
        "--weights", metavar="ema|KEY", help="Which of several state dicts in the file, e.g. state_dict_ema."
    ),
    click.option("--prefix", metavar="PREFIX", help="Take only the tensors under this prefix, e.g. model."),
    click.option("--strict", is_flag=True, help="Refuse tensors in the file that the net does not have."),
    click.option(
        "--trust-checkpoint", is_flag=True, help="Unpickle a whole module; runs code from the file."
    ),
)

#: What decides between a smaller and a faster layer.
speed_options = together(
    click.option(
        "--optimize",
        type=click.Choice(["size", "speed", "memory"]),
        default="size",
        show_default=True,
        help="size: the smallest file, run packed where that is no slower; speed: packed only where that is "
        "faster, the rest expanded; memory: run packed wherever an operator can.",
    ),
    click.option("--measure", is_flag=True, help="Time each layer here, dense and packed; write the faster."),
    click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        default=1,
        show_default=True,
        help="Threads to measure on.",
    ),
)

#: Integers instead of floats.
integer_options = together(
    click.option(
        "--activations",
        type=click.Choice(["float", "int8"]),
        default="float",
        show_default=True,
        help="int8: quantize a float model's weights and activations first; lossy.",
    ),
    click.option(
        "--calibrate",
        metavar="FILE.npz|digits|folder:DIR|FACTORY",
        help="Data for --activations int8: arrays by input name, or a data set of the lab.",
    ),
    click.option(
        "--calibration",
        type=click.Choice(["minmax", "entropy", "percentile"]),
        default="minmax",
        show_default=True,
        help="How activations get their ranges from it.",
    ),
)

#: Which latent weights stand for their signs.
binarize_options = together(
    click.option(
        "--binarize",
        multiple=True,
        metavar="GLOB",
        help="Take the latent weights that match as alpha * sign(W), one bit each.",
    ),
    click.option(
        "--binarize-alpha",
        type=click.Choice(["mean", "one"]),
        default="mean",
        show_default=True,
        help="alpha of --binarize: mean |W| of each output channel, or 1.",
    ),
)

#: What an archive keeps.
archive_options = together(
    click.option(
        "--no-fold",
        is_flag=True,
        help="In an archive, keep pruning pairs (weight_orig, weight_mask) apart, not the folded weight.",
    ),
    click.option(
        "--exact-zeros",
        is_flag=True,
        help="In an archive, keep the signs of zeros (-0.0) in pruned weights too.",
    ),
)

#: How close the outputs must be.
tolerance_options = together(
    click.option(
        "--rtol",
        type=NotNegative(),
        help="Tolerance relative to the output's own channel and row.  [default: room for rounding]",
    ),
    click.option("--atol", type=NotNegative(), help="Absolute tolerance.  [default: 0]"),
    click.option(
        "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of the inputs."
    ),
)
