"""Options that several commands share, with their parsing."""

from __future__ import annotations

from collections.abc import Callable
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


class Tolerance(click.ParamType[float]):
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


#: How to read the model: architecture, input shapes, trust.
source_options = together(
    click.option("--arch", metavar="NAME|FILE.py:FACTORY", help="Architecture of a state dict."),
    click.option("--input-shape", multiple=True, type=ShapeType(), help="Shape of an input, e.g. 1x3x32x32."),
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
        type=click.Choice(["size", "speed"]),
        default="size",
        show_default=True,
        help="Pack what gets smaller, or only what gets faster too.",
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

#: How close the outputs must be.
tolerance_options = together(
    click.option(
        "--rtol", type=Tolerance(), help="Tolerance relative to the largest output.  [default: 0.001]"
    ),
    click.option("--atol", type=Tolerance(), help="Absolute tolerance.  [default: 1e-05]"),
    click.option(
        "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of the inputs."
    ),
)
