"""The source's outputs on chosen inputs, and what it takes to judge a file's by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...runtime.inputs import Feeds
from ..reference import OnnxReference, Reference
from . import sign_reference
from .verdict import OutputVerdict, Runs, Tolerance, judge


class Trial:
    """Outputs of the source.

    Parameters
    ----------
    reference
        The source.
    names
        Of its outputs, in order.
    feeds, expected
        The inputs, and the source's outputs for each of them.
    fed
        Whether there are inputs that the outputs could follow.
    steps
        Of the outputs whose last function makes one (`steps`), how large it is.
    """

    def __init__(
        self,
        reference: Reference,
        names: list[str],
        feeds: list[Feeds],
        expected: list[list[Any]],
        fed: bool,
        steps: Mapping[str, float] | None = None,
    ) -> None:
        self.steps = steps or {}
        self.reference, self.names, self.feeds, self.expected, self.fed = (
            reference,
            names,
            feeds,
            expected,
            fed,
        )
        self.random = [False] * len(names)
        self._moved: list[list[list[Any]]] | None = None

    def mark_random(self) -> None:
        """Find the outputs that the source gives anew each time."""
        again = self.reference.run(self.feeds[0])
        for place, name in enumerate(self.names):
            runs = Runs(name, [self.expected[0][place]], [again[place]])
            self.random[place] = not judge(runs, Tolerance()).passed

    def judge(
        self, wanted: list[list[Any]], got: list[list[Any]], tolerance: Tolerance, *, noisy: bool = True
    ) -> list[OutputVerdict]:
        """The verdict on each output; the source is run in other ways only where one fails without."""
        verdicts = []
        for place, name in enumerate(self.names):
            runs = Runs(
                name,
                [outputs[place] for outputs in wanted],
                [outputs[place] for outputs in got],
                random=self.random[place],
                fed=self.fed,
            )
            verdict = judge(runs, tolerance)
            if not verdict.passed and noisy and not tolerance.given and verdict.max_abs != np.inf:
                runs.moved = [
                    [outputs[place] for outputs in other if len(outputs) == len(self.names)]
                    for other in self.moved()
                ]
                runs.step = self.steps.get(name, 0.0)
                verdict = judge(runs, tolerance)
            verdicts.append(verdict)
        return verdicts

    def moved(self) -> list[list[list[Any]]]:
        """The source's outputs computed in each other way, over all inputs."""
        if self._moved is None:
            by_feeds = [self.reference.moved(feeds) for feeds in self.feeds]
            self._moved = [list(way) for way in zip(*by_feeds, strict=False)]
        return self._moved

    def nearest(self, others: Sequence[OnnxReference], got: list[list[Any]]) -> list[list[Any]]:
        """What the reference, or another that is as right, gives nearest to the file."""
        chosen = []
        for feeds, expected, outputs in zip(self.feeds, self.expected, got, strict=True):
            references = [expected]
            for other in others:
                references += [run for run in (other.run(feeds), other.plainly(feeds)) if run is not None]
            chosen.append(sign_reference.nearest(references, outputs))
        return chosen
