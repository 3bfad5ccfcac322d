"""What the lab's commands share: data and recipe options, a bar over epochs, the line that sums up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import print_json, progress, result
from .options import together

if TYPE_CHECKING:
    from ..training.beginning import DataSpec
    from ..training.outcome import Outcome
    from ..training.train import Progress, Recipe

FILE = click.Path(path_type=Path)


data_options = together(
    click.option(
        "--data",
        "source",
        default="digits",
        show_default=True,
        metavar="digits|cifar10|folder:DIR|MODULE:FACTORY",
        help="Images to train and evaluate on.",
    ),
    click.option("--data-dir", metavar="DIR", help="Where the CIFAR-10 files are."),
    click.option("--download", is_flag=True, help="Fetch CIFAR-10 into --data-dir first."),
    click.option(
        "--image-size",
        type=click.IntRange(1, 4096),
        default=32,
        show_default=True,
        help="Side of the images (digits, folder).",
    ),
)

recipe_options = together(
    click.option(
        "--epochs", type=click.IntRange(0), default=2, show_default=True, help="Passes over the data."
    ),
    click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True),
    click.option(
        "--lr", type=float, default=1e-3, show_default=True, help="Peak learning rate of the net's training."
    ),
    click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True),
    click.option(
        "--lr-schedule",
        type=click.Choice(["onecycle", "cosine", "step", "constant"]),
        default="onecycle",
        show_default=True,
        help="Course of the learning rate.",
    ),
    click.option("--weight-decay", type=click.FloatRange(0), default=5e-4, show_default=True),
    click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True),
)

output_options = together(
    click.option("-o", "--output", type=FILE, required=True, help="Checkpoint to write."),
    click.option("--force", is_flag=True, help="Overwrite the output if it exists."),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("--quiet", is_flag=True, help="No progress bar."),
)

arch_option = click.option(
    "--arch", metavar="NAME|FILE.py:FACTORY", help="The checkpoint's net; the lab's own are recognised."
)


def data_spec(source: str, data_dir: str | None, download: bool, image_size: int) -> DataSpec:
    """The data options as one value."""
    from ..training.beginning import DataSpec

    return DataSpec(source, data_dir, download, image_size)


def recipe(
    epochs: int,
    batch_size: int,
    lr: float,
    optimizer: str,
    lr_schedule: str,
    weight_decay: float,
    seed: int,
) -> Recipe:
    """The recipe options as one value."""
    from ..training.train import Recipe

    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        optimizer=optimizer,
        schedule=lr_schedule,
        weight_decay=weight_decay,
        seed=seed,
    )


def take(values: dict[str, Any]) -> tuple[DataSpec, Recipe]:
    """Remove the data and recipe options from a command's values and return them as two."""
    spec = data_spec(*(values.pop(name) for name in ("source", "data_dir", "download", "image_size")))
    names = ("epochs", "batch_size", "lr", "optimizer", "lr_schedule", "weight_decay", "seed")
    return spec, recipe(**{name: values.pop(name) for name in names})


@contextlib.contextmanager
def epoch_bar(quiet: bool) -> Iterator[Progress]:
    """A bar over all steps of all epochs, on stderr where that is a terminal."""
    with progress(quiet) as update:

        def step(epoch: int, epochs: int, done: int, steps: int, loss: float) -> None:
            update(f"epoch {epoch + 1}/{epochs}, loss {loss:.3f}", epoch * steps + done, epochs * steps)

        yield step


def show(outcome: Outcome, as_json: bool) -> None:
    """The result of a step, on stdout."""
    if as_json:
        print_json(outcome.as_json())
        return
    parts = [f"{outcome.nonzeros:,} of {outcome.weights:,} weights non-zero"]
    if outcome.accuracy is not None:
        parts.insert(0, f"held-out accuracy {outcome.accuracy:.2%}")
    result(f"{outcome.output}  {outcome.arch}: {', '.join(parts)}")
