"""Which operator runs a packed layer: everything that its name and its function hang on."""

from __future__ import annotations

from dataclasses import dataclass

from ...formats import Format
from ..graph.activations import ACTIVATIONS
from ..graph.site import Fused
from . import quantized_functions

#: What follows the prefix where signs arrive packed, and the suffix where they leave so.
PACKED, SIGN = "Packed", "Sign"
#: Max pooling of packed signs, the one operator without a weight.
POOL = "XnorMaxPool"
_WINDOW = ("strides", "pads", "dilations", "group")
#: Kinds of layers, with their attributes beside the weight's shape; longer names first.
LAYERS: dict[str, tuple[str, ...]] = {"QConv": _WINDOW, "QMatMul": (), "Conv": _WINDOW, "MatMul": ()}


def prefix_of(operator: str) -> str:
    """What stands before the kind of layer in an operator's name; all of it where there is none.

    Examples
    --------
    >>> prefix_of("XnorPackedConvSign")
    'XnorPacked'
    >>> prefix_of("TightQMatMul")
    'Tight'
    """
    for layer in LAYERS:
        operator = operator.partition(layer)[0]
    return operator


@dataclass(frozen=True)
class OpSpec:
    """One operator of the domain.

    Attributes
    ----------
    fmt
        Format of its weight, as the file holds it.
    layer
        One of `LAYERS`.
    residual
        Whether a last input Z is added before the activation.
    activation
        "" or one of `ACTIVATIONS`; "Sign" gives the packed signs of the result, "Float" floats instead of
        integers.
    packed_input
        Whether X is packed signs.
    """

    fmt: Format
    layer: str
    residual: bool = False
    activation: str = ""
    packed_input: bool = False

    @classmethod
    def of(cls, layer: Fused, fmt: Format) -> OpSpec:
        """What a layer asks for, its weight in that format."""
        return cls(fmt, layer.kind, layer.residual is not None, layer.activation, layer.packed_input)

    @property
    def binary_input(self) -> bool:
        """Whether it takes the sign of X first: a format of signs is read by no other operator."""
        return self.fmt.operator is None

    @property
    def quantized(self) -> bool:
        """Whether it computes with integers."""
        return self.layer.startswith("Q")

    @property
    def name(self) -> str:
        """`SparseConvAddRelu` for csr, Conv, a residual input and a Relu."""
        prefix = self.fmt.sign_operator if self.binary_input else self.fmt.operator
        packed = PACKED if self.packed_input else ""
        return f"{prefix}{packed}{self.layer}{'Add' if self.residual else ''}{self.activation}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs, in their order."""
        if self.quantized:
            return quantized_functions.inputs(self.fmt.operator_inputs, self.residual, self.activation)
        return ("X", *self.fmt.operator_inputs, "scale", "bias", *(["Z"] if self.residual else []))

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of its attributes."""
        parameters = ACTIVATIONS[self.activation].parameters if self.activation in ACTIVATIONS else ()
        return ("shape", *LAYERS[self.layer], *parameters)
