"""The inputs on which a file is held against its source: given ones as they are, the others found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, UnsupportedError
from ...runtime import trials
from ...runtime.inputs import FAMILIES, Feeds, InputSpec, given, named_shapes, read_npz, sizes_in
from ...runtime.stock import LoadError, Session
from ...text import shown
from ..files import sandbox
from ..graph.shapes import Examples
from ..reference import OnnxReference
from .demands import inputs_of

if TYPE_CHECKING:
    from ..source import Source

#: Memory for trial runs, on top of several times the file; seconds of one run and of all.
_MEMORY = 4 << 30
_ONE_RUN = 10.0
_ALL_RUNS = 60.0


@dataclass(frozen=True)
class Evidence:
    """How the inputs of a source are made.

    Attributes
    ----------
    specs
        The inputs in the order of the graph.
    given
        Arrays of the user's, by the graph's names.
    branches
        Whether the graph runs one part or another by its values.
    """

    specs: tuple[InputSpec, ...]
    sampling: trials.Sampling
    given: Feeds = field(default_factory=dict)
    seed: int = 0
    branches: bool = False

    def samples(self) -> list[Feeds]:
        """The inputs that are run: several batch sizes where the source takes them."""
        return trials.samples(self.specs, self.sampling, self.given, self.seed)

    def strays(self) -> list[Feeds]:
        """Inputs of every other size and sign, for graphs that branch: one for each part they may run."""
        if not self.branches:
            return []
        batch = (self.sampling.batches or (1,))[0]
        others = [family for family in FAMILIES if family != self.sampling.family]
        return [
            replace(self.sampling, family=family).feeds(self.specs, self.given, self.seed + 1, batch)
            for family in others
        ]

    def one(self) -> Feeds:
        """Inputs of the smallest batch the source takes: what is given, or seeded."""
        return self.samples()[0]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of each input of `one`; () for what is no array."""
        return [tuple(getattr(value, "shape", ())) for value in self.one().values()]

    @property
    def known_shapes(self) -> list[tuple[int | None, ...]]:
        """`shapes`, but None for a size that was guessed: the smallest that runs is not what will be run."""
        guessed = () if self.given else self.sampling.guessed
        shapes: list[tuple[int | None, ...]] = []
        for spec, shape in zip(self.specs, self.shapes, strict=True):
            known = [None if spec.key(axis) in guessed else size for axis, size in enumerate(shape)]
            shapes.append(tuple(known))
        return shapes

    @property
    def told(self) -> str:
        """What had to be guessed, or is fixed, for the user; empty where nothing had."""
        if self.given:
            return ""
        return trials.told(self.sampling)


def gather(source: Source, seed: int = 0) -> Evidence:
    """Inputs that the source takes.

    The user's .onnx file is tried in a process of its own, under limits of time and memory.

    Raises
    ------
    InputError
        If none are found: with what the source says, and a request for `--input`.
    """
    specs = inputs_of(source.model if source.original is None else source.original)
    arrays = _given(source, specs)
    sizes = named_shapes(source.input_shape, specs) if source.arch is None else {}
    sizes |= sizes_in(arrays, specs)
    if source.arch is not None and not arrays:
        sizes |= _sizes_of_examples(specs, source.example_shapes or ())
    try:
        sampling = _searched(source, specs, arrays, sizes, seed)
    except LoadError as error:
        raise InputError(
            f"{error}; nothing can be compared with (--no-verify exports without proof)"
        ) from error
    if not sampling.finite:
        raise InputError(
            f"{shown(source.path)}: every output is NaN or infinite on every input tried: nothing can be "
            "compared; give inputs it is made for with --input data.npz (--no-verify exports without proof)"
        )
    branches = source.original is not None and any(map(_branches, source.original.graph.node))
    return Evidence(tuple(specs), sampling, arrays, seed, branches)


def expected_shapes(source: Source) -> list[tuple[int | None, ...]] | None:
    """Shape of each input as far as it is told, by the user or by a layer that reads it; nothing is run.

    Raises
    ------
    InputError
        If what the user says contradicts the model.
    """
    try:
        specs = inputs_of(source.model if source.original is None else source.original)
    except UnsupportedError:  # nothing of ours can make such an input, and nothing has to
        return None
    said = named_shapes(source.input_shape, specs) | sizes_in(_given(source, specs), specs)

    def size(spec: InputSpec, axis: int) -> int | None:
        key = spec.key(axis)
        return key if isinstance(key, int) else said.get(key, dict(spec.sizes).get(axis))

    return [tuple(size(spec, axis) for axis in range(len(spec.shape))) for spec in specs]


def _branches(node: Any) -> bool:
    """Whether the node runs one of several graphs."""
    return bool(node.op_type == "If") or any(
        _branches(inner) for item in node.attribute if item.HasField("g") for inner in item.g.node
    )


def _searched(
    source: Source, specs: list[InputSpec], arrays: Feeds, sizes: dict[str, int], seed: int
) -> trials.Sampling:
    """What `trials.search` finds, for a file in a process of its own."""
    reference = source.reference
    if isinstance(reference, OnnxReference) and reference.path is not None:
        import onnxruntime  # noqa: F401  here, so that the child need not

        path = reference.path
        return sandbox.run(
            _search_file,
            path,
            specs,
            arrays,
            sizes,
            seed,
            memory=_MEMORY + 8 * path.stat().st_size,
            seconds=_ALL_RUNS,
            subject=source.path,
            doing="running it on trial inputs",
        )
    return trials.search(specs, reference.run, given=arrays, sizes=sizes, seed=seed)


def _search_file(
    path: Path, specs: list[InputSpec], arrays: Feeds, sizes: dict[str, int], seed: int
) -> trials.Sampling:
    session = Session(path, threads=1)
    return trials.search(
        specs, lambda feeds: session.run(feeds, _ONE_RUN), given=arrays, sizes=sizes, seed=seed
    )


def _given(source: Source, specs: Sequence[InputSpec]) -> Feeds:
    """The arrays of `--input` by the graph's names: a module's go by name, or else by their order."""
    if source.input is None:
        return {}
    arrays: dict[str, Any] = dict(read_npz(source.input))
    names = [spec.name for spec in specs]
    if source.arch is not None and not set(arrays) <= set(names) and len(arrays) == len(names):
        arrays = dict(zip(names, arrays.values(), strict=True))
    # Tracing names a fixed batch where it could not free one; the arrays may be of any.
    loose = [_free_batch(spec) for spec in specs] if source.arch is not None else specs
    found = given(arrays, loose, str(source.input))
    if source.arch is not None and len(found) != len(specs):
        raise InputError(f"{source.input}: a checkpoint needs an array for each of its {len(specs)} inputs")
    return found


def _free_batch(spec: InputSpec) -> InputSpec:
    return replace(spec, shape=("batch", *spec.shape[1:])) if spec.shape else spec


def _sizes_of_examples(specs: Sequence[InputSpec], examples: Examples) -> dict[str, int]:
    """Open dimensions but the batch, from the inputs that a module was traced with."""
    sizes: dict[str, int] = {}
    for spec, shape in zip(specs, examples, strict=False):
        for axis in range(1, min(len(shape), len(spec.shape))):
            key = spec.key(axis)
            size = shape[axis]
            if isinstance(key, str) and key != "batch" and size is not None:
                sizes[key] = size
    return sizes
