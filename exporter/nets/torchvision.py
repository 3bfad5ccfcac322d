"""torchvision's classification models, also beside a CPU-only torch.

torchvision from the package index is a CUDA build. Beside a CPU-only torch its compiled operators cannot load
and its import fails on two operator schemas they would have defined. The models need neither operator:
define the two and import it again. Only after the failure, as a build that fits defines them itself, once.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import MissingDependencyError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
#: The definitions live exactly as long as this object.
_library: list[Any] = []

#: Models whose default input is not 224 x 224.
_INPUT = {"inception_v3": 299}


@functools.cache
def models() -> ModuleType:
    """The module `torchvision.models`.

    Raises
    ------
    MissingDependencyError
        If torchvision is not installed, or does not fit the installed torch.
    """
    try:
        try:
            return importlib.import_module("torchvision.models")
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
        _define_operators()
        return importlib.import_module("torchvision.models")
    except Exception as error:  # a mismatched build raises RuntimeError, OSError or AttributeError
        raise MissingDependencyError(
            f"torchvision cannot be imported ({type(error).__name__}); install the one made for this torch:"
            " pip install 'sparse-export[vision]'"
        ) from error


def _define_operators() -> None:
    """Define the schemas that the compiled operators lack, and forget the half-imported package."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}{_SCHEMA}")  # type: ignore[no-untyped-call]
    _library.append(library)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def importable() -> bool:
    """Whether torchvision is there; from now on other people's code can import it too."""
    try:
        return models() is not None
    except MissingDependencyError:
        return False


def lending(call: Callable[[], T]) -> T:
    """`call()`, once more with torchvision made importable if it failed over the operators that it lacks.

    Importing torchvision takes seconds: code that does not ask for it shall not wait for it.
    """
    try:
        return call()
    except RuntimeError as error:
        if "torchvision::" not in str(error) or not importable():
            raise
        return call()


def names() -> list[str]:
    """Names of the classification models."""
    module = models()
    return list(module.list_models(module=module))


def build(name: str, **options: Any) -> torch.nn.Module:
    """The model `name` with random weights."""
    if name in ("googlenet", "inception_v3"):
        options.setdefault("init_weights", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return models().get_model(name, weights=None, **options)  # type: ignore[no-any-return]


def input_shape(name: str, image: int | None = None) -> tuple[int, ...]:
    """Shape of one input image as a batch of one."""
    side = image or _INPUT.get(name, 224)
    return (1, 3, side, side)


#: A state-dict key that only this family has -> pattern of its names. The first key that is there decides.
FAMILIES = {
    "AuxLogits.fc.weight": "inception_v3",
    "Mixed_7c.branch_pool.conv.weight": "inception_v3",
    "inception5b.branch4.1.conv.weight": "googlenet",
    "features.denseblock1.denselayer1.norm1.weight": "densenet.*",
    "features.3.squeeze.weight": "squeezenet.*",
    "encoder.layers.encoder_layer_0.ln_1.weight": "vit_.*",
    "trunk_output.block1.block1-0.proj.0.weight": "regnet_.*",
    "blocks.0.layers.0.layers.MBconv.layers.conv_a.0.weight": "maxvit_t",
    "stage2.0.branch2.0.weight": "shufflenet_.*",
    "features.1.0.attn.cpb_mlp.0.weight": "swin_v2_.*",
    "features.1.0.attn.qkv.weight": "swin_[tsb]",
    "features.1.0.layer_scale": "convnext_.*",
    "layer1.0.conv1.weight": "(wide_)?resne.*",
    "layers.8.0.layers.0.weight": "mnasnet.*",
    "features.1.conv.0.0.weight": "mobilenet_v2",
    "features.1.0.block.0.0.weight": "efficientnet_.*",
    "features.1.block.0.0.weight": "mobilenet_v3_.*",
    "features.0.weight": "alexnet|vgg.*",
}


def family(keys: set[str]) -> list[str]:
    """Names of the models that a state dict with these keys may belong to."""
    pattern = next((pattern for key, pattern in FAMILIES.items() if key in keys), None)
    return [name for name in names() if pattern and re.fullmatch(pattern, name)]
