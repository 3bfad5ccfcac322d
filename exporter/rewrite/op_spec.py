"""Which operator runs a packed layer: everything that its name and its function hang on."""

from __future__ import annotations

from dataclasses import dataclass

from ...formats import Format
from ..graph.activations import ACTIVATIONS
from ..graph.site import Fused
from . import quantized_functions
from .layer_kinds import INTEGERS, LayerKind, kind_of

#: What follows the prefix where signs arrive packed, and the suffix where they leave so.
PACKED, SIGN = "Packed", "Sign"
#: Max pooling of packed signs, the one operator without a weight.
POOL = "XnorMaxPool"


@dataclass(frozen=True)
class OpSpec:
    """One operator of the domain.

    Attributes
    ----------
    fmt
        Format of its weight, as the file holds it.
    layer
        A name of `LAYERS`; behind `INTEGERS` where it computes with integers.
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
        return self.layer.startswith(INTEGERS)

    @property
    def kind(self) -> LayerKind:
        """The row of its kind of layer."""
        return kind_of(self.layer)

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
        return ("shape", *self.kind.attributes, *parameters)
