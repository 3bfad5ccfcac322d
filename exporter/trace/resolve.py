"""From a checkpoint to a module with its weights in it and inputs to trace it with.

The way to a graph, the first that applies: the file brings it (.pt2, a trusted whole module), `--arch` names
it, or the keys and shapes of the state dict are those of a net we know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...errors import InputError
from ...notes import Note
from ...text import shown
from ..checkpoint import Checkpoint
from ..nets import torchvision as vision
from . import dynamic as open_axes
from .example_inputs import example_inputs
from .filled import filled, find
from .resolved import Resolved


def resolve(
    checkpoint: Checkpoint,
    arch: str | None = None,
    input_shapes: list[tuple[int, ...]] | None = None,
    input_dtypes: list[str] | None = None,
    strict: bool = False,
    dynamic: Sequence[str] = (),
) -> Resolved:
    """The net that a checkpoint's weights belong to, with the weights loaded.

    Parameters
    ----------
    arch
        A built-in net, a torchvision classifier, `path/file.py:factory` or `package.module:factory`.
    input_shapes, input_dtypes
        One per input; a single dtype holds for all inputs. Default: what the architecture takes, float32.
    strict
        Refuse a checkpoint that holds other tensors beside the net's.
    dynamic
        "NAME:AXIS" of input dimensions to keep open beside the batch.

    Raises
    ------
    InputError
        If there is no such architecture, the weights do not fit it, or none can be recognised.
    """
    if checkpoint.program is not None:
        open_axes.refuse(checkpoint.path, dynamic, "a .pt2 program")
        return _from_program(checkpoint)
    if checkpoint.module is not None and arch is None:
        module, name = checkpoint.module, type(checkpoint.module).__qualname__
        notes: list[Note] = []
        default = _module_input(module)
    else:
        found, notes = find(checkpoint, arch, strict)
        name, default = found.blueprint.name, found.blueprint.input_shape
        module = filled(found, checkpoint, notes)
    module = _float32(module.eval())
    own = getattr(module, "example_input_array", None)  # the convention of Lightning modules
    if isinstance(own, torch.Tensor) and not input_shapes:
        inputs: tuple[torch.Tensor, ...] = (own,)
    else:
        inputs = example_inputs(name, input_shapes, input_dtypes, default)
    axes = open_axes.parse(dynamic, open_axes.names_of(module, len(inputs)), [item.ndim for item in inputs])
    return Resolved(module, name, inputs, notes, axes=axes, asked=bool(dynamic))


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
