"""From a checkpoint to a module with its weights in it and inputs to trace it with.

The way to a graph, the first that applies: the file brings it (.pt2, a trusted whole module), `--arch` names
it, or the keys and shapes of the state dict are those of a net we know.
"""

from __future__ import annotations

import difflib
import inspect
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ...errors import InputError
from ...notes import Note
from ...text import counted, listed, shown
from ..checkpoint import Checkpoint
from ..checkpoint.diagnosis import identity
from ..nets import recognise, user_code
from ..nets import torchvision as vision
from .to_onnx import to_onnx

if TYPE_CHECKING:
    from ..nets.recognise import Difference, Recipe

__all__ = ["Resolved", "resolve", "to_onnx"]

_WAYS = "name it with --arch NAME, give --arch FILE.py:FACTORY, or give an .onnx or .pt2 file"

_DTYPES = {
    **{str(d)[6:]: d for d in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool)},
    **{str(d)[6:]: d for d in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)},
}


@dataclass
class Resolved:
    """A net ready to be traced.

    Attributes
    ----------
    module
        In evaluation mode, float32, holding the checkpoint's weights (shared, not copied, where float32).
    arch_name
        "resnet18", "net.py:make", "a torch.export program", or the class of a whole module.
    example_inputs
        Seeded; the first dimension of each is the batch.
    program
        The torch.export.ExportedProgram, when the file was one: it is exported instead of the module.
    """

    module: torch.nn.Module
    arch_name: str
    example_inputs: tuple[torch.Tensor, ...]
    notes: list[Note] = field(default_factory=list)
    program: Any | None = None


def resolve(
    checkpoint: Checkpoint,
    arch: str | None = None,
    input_shapes: list[tuple[int, ...]] | None = None,
    input_dtypes: list[str] | None = None,
) -> Resolved:
    """The net that a checkpoint's weights belong to, with the weights loaded.

    Parameters
    ----------
    arch
        A built-in net, a torchvision classifier, `path/file.py:factory` or `package.module:factory`.
    input_shapes, input_dtypes
        One per input; a single dtype holds for all inputs. Default: what the architecture takes, float32.

    Raises
    ------
    InputError
        If there is no such architecture, the weights do not fit it, or none can be recognised.
    """
    if checkpoint.program is not None:
        return _from_program(checkpoint)
    if checkpoint.module is not None and arch is None:
        module, name = checkpoint.module, type(checkpoint.module).__qualname__
        notes: list[Note] = []
        default = _module_input(module)
    else:
        recipe, notes = _recipe(checkpoint, arch)
        module, name, default = _filled(recipe, checkpoint, notes), recipe.name, recipe.input_shape
    module = _float32(module.eval())
    own = getattr(module, "example_input_array", None)  # the convention of Lightning modules
    if isinstance(own, torch.Tensor) and not input_shapes:
        inputs: tuple[torch.Tensor, ...] = (own,)
    else:
        inputs = example_inputs(name, input_shapes, input_dtypes, default)
    return Resolved(module, name, inputs, notes)


def example_inputs(
    name: str,
    shapes: list[tuple[int, ...]] | None,
    dtypes: list[str] | None,
    default: tuple[int, ...] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Seeded inputs of the given shapes and dtypes: normal floats, integers 0 and 1."""
    if not shapes:
        if default is None:
            raise InputError(
                f"'{shown(name)}' does not tell its input: give --input-shape, for example 1x3x224x224"
            )
        shapes = [default]
    kinds = dtypes or ["float32"]
    if len(kinds) == 1:
        kinds = kinds * len(shapes)
    if len(kinds) != len(shapes):
        raise InputError(
            f"{len(kinds)} input dtypes for {len(shapes)} inputs: give one for all, or one for each"
        )
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for shape, kind in zip(shapes, kinds, strict=True):
        if kind not in _DTYPES:
            raise InputError(f"unknown input dtype '{shown(kind)}': one of {', '.join(_DTYPES)}")
        if not shape or min(shape) < 1:
            raise InputError(
                f"input shape {'x'.join(map(str, shape)) or '()'}: every dimension must be at least 1"
            )
        dtype = _DTYPES[kind]
        if dtype.is_floating_point:
            inputs.append(torch.randn(shape, generator=generator).to(dtype))
        else:
            inputs.append(torch.randint(0, 2, shape, generator=generator).to(dtype))
    return tuple(inputs)


def _from_program(checkpoint: Checkpoint) -> Resolved:
    program = checkpoint.program
    assert program is not None
    given, keywords = program.example_inputs or ((), {})
    if keywords or not all(isinstance(item, torch.Tensor) for item in given):
        raise InputError(
            f"{shown(checkpoint.path)}: the program takes keyword or non-tensor inputs; export it"
            " with positional tensors only"
        )
    return Resolved(program.module(), "a torch.export program", tuple(given), [], program)


def _recipe(checkpoint: Checkpoint, arch: str | None) -> tuple[Recipe, list[Note]]:
    from ..nets.cifar import MODELS

    have = recognise.shapes_of(checkpoint.tensors)
    if arch is not None:
        recipe, difference = recognise.fit(_named(arch, have), have)
        if difference.size and (stripped := _without_prefix(have)):
            inner, other = recognise.fit(_named(arch, stripped), stripped)
            if other.size == 0:
                return inner, [_prefix_note(have)]
        if difference.size:
            raise InputError(
                f"{shown(checkpoint.path)} does not fit '{shown(arch)}': {_told(difference, have)}"
            )
        return recipe, []
    hint = checkpoint.arch_hint
    if hint is not None and (hint in MODELS or hint in vision.names()):
        recipe, difference = recognise.fit(_named(hint, have), have)
        if difference.size == 0:
            return recipe, [Note("info", f"architecture named in the file: {hint}")]
    found, closest = recognise.recognise(have)
    notes = []
    if found is None and (stripped := _without_prefix(have)):
        found, _ = recognise.recognise(stripped)
        notes = [_prefix_note(have)]
    if found is None:
        near = ""
        if closest and closest[1].size < len(have) / 2:
            near = f" (closest: {closest[0]}, {_told(closest[1], have)})"
        raise InputError(f"{shown(checkpoint.path)}: no known architecture has these weights{near}; {_WAYS}")
    classes = f" with {found.options['num_classes']} classes" if "num_classes" in found.options else ""
    notes.insert(0, Note("info", f"architecture recognised: {found.name}{classes}"))
    return found, notes


def _without_prefix(have: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """`have` without the first part of its names if all share it ('model.conv.weight'), else nothing."""
    prefix = _shared_prefix(have)
    return {name.removeprefix(prefix): shape for name, shape in have.items()} if prefix else {}


def _shared_prefix(have: Mapping[str, Any]) -> str:
    heads = {name.partition(".")[0] for name in have}
    return f"{heads.pop()}." if len(heads) == 1 and all("." in name for name in have) else ""


def _prefix_note(have: Mapping[str, Any]) -> Note:
    return Note(
        "info", f"prefix '{shown(_shared_prefix(have))}' left out of every name to fit the architecture"
    )


def _told(difference: Difference, have: Mapping[str, tuple[int, ...]]) -> str:
    """The first names of each kind of difference."""
    parts = []
    if difference.missing:
        parts.append(f"missing {listed(difference.missing)}")
    if difference.unexpected:
        parts.append(f"unexpected {listed(difference.unexpected)}")
    if difference.shapes:
        name = difference.shapes[0]
        more = f" and {len(difference.shapes) - 1} more" if len(difference.shapes) > 1 else ""
        parts.append(f"another shape in {shown(name)} ({'x'.join(map(str, have[name]))} in the file){more}")
    return "; ".join(parts)


def _named(arch: str, have: Mapping[str, tuple[int, ...]]) -> Recipe:
    """The recipe that `--arch` asks for."""
    from ..nets.cifar import MODELS

    if arch in MODELS:
        return recognise.builtin(arch)
    if ":" in arch:
        make = user_code.load(arch)
        accepts = frozenset(inspect.signature(make).parameters)
        return recognise.Recipe(arch, make, accepts=accepts, known=False)
    known = vision.names()
    if arch in known:
        return recognise.torchvision_net(arch, have)
    near = difflib.get_close_matches(arch, [*MODELS, *known], n=3)
    hint = (
        f"did you mean {', '.join(near)}?"
        if near
        else f"one of {', '.join(MODELS)}, a torchvision classifier"
    )
    raise InputError(f"unknown architecture '{shown(arch)}': {hint} or FILE.py:FACTORY")


def _filled(recipe: Recipe, checkpoint: Checkpoint, notes: list[Note]) -> torch.nn.Module:
    """The net with the checkpoint's tensors as its parameters: assigned, so shared and not copied."""
    module = recipe.empty()
    tensors = checkpoint.tensors
    want = module.state_dict()
    if not set(want) & set(tensors):
        prefix = _shared_prefix(tensors)
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    absent = [name for name in want if name not in tensors]  # only BatchNorm's counters get this far
    state = OrderedDict(tensors | {name: torch.zeros((), dtype=torch.int64) for name in absent})
    # Modules that changed their layout look at the version a state dict was saved with; ours has been fitted.
    state._metadata = want._metadata  # type: ignore[attr-defined]
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except Exception as error:  # a module's own loading hooks may raise anything
        raise InputError(
            f"{shown(checkpoint.path)} does not load into '{shown(recipe.name)}': {user_code.reason(error)}"
        ) from error
    if absent:
        notes.append(
            Note(
                "info", f"{counted(len(absent), 'missing BatchNorm counter')} (num_batches_tracked) set to 0"
            )
        )
    if recipe.known and recipe.name in ("googlenet", "inception_v3"):
        text = f"{recipe.name} is built without transform_input, which torchvision's own weights switch on"
        notes.append(Note("warn", f"{text}: if yours did, give --arch FILE.py:FACTORY"))
    _tie(module)
    return module


def _tie(module: torch.nn.Module) -> None:
    """Make parameters that share storage one object again, so that the graph holds them once."""
    first: dict[tuple[object, ...], torch.nn.Parameter] = {}
    for owner in module.modules():
        for name, parameter in list(owner._parameters.items()):
            if parameter is not None and parameter.numel():
                owner._parameters[name] = first.setdefault(identity(parameter), parameter)


def _float32(module: torch.nn.Module) -> torch.nn.Module:
    """`module` with every floating-point parameter and buffer as float32."""
    tensors = [*module.parameters(), *module.buffers()]
    if any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors):
        module = module.float()
    return module.requires_grad_(False)


def _module_input(module: torch.nn.Module) -> tuple[int, ...] | None:
    """The input of a whole module, where its class or its first layer tells."""
    origin = type(module).__module__
    if origin.startswith("torchvision.models"):
        return vision.input_shape("inception_v3" if origin.endswith("inception") else "")
    if origin.endswith("training.models"):
        return (1, 3, 32, 32)
    first = next(iter(module), None) if isinstance(module, torch.nn.Sequential) and len(module) else None
    return (1, first.in_features) if isinstance(first, torch.nn.Linear) else None
