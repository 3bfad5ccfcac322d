"""The two nouns of a layer: what the graph has, and what the operator that replaces it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from ...formats.base import Array
from .points import Quantized


@dataclass(frozen=True, eq=False)
class Site:
    """One Conv, Gemm or MatMul with a constant weight, as the graph has it.

    Attributes
    ----------
    kind
        "Conv" or "MatMul": which operator family can replace it; "QConv", "QMatMul" where it computes with
        integers.
    transposed
        Whether the weight is [inputs, outputs], so its transpose is what gets packed.
    x
        The value that it multiplies with the weight.
    scale, bias
        float64 [K]: per-output factors and offsets of its own, Gemm's alpha and beta in them.
    attributes
        Of its operator: `shape` (outputs first), and for Conv the window.
    obstacle
        Why no packed operator fits, or None.
    quantized
        Scales and zero points of a layer that computes with integers; its weight's are the codes.
    """

    node: onnx.NodeProto
    kind: str
    weight: str
    transposed: bool
    x: str
    scale: Array
    bias: Array
    attributes: Mapping[str, object]
    obstacle: str | None = None
    quantized: Quantized | None = None

    @property
    def name(self) -> str:
        """The node's, or its result's."""
        return str(self.node.name or self.node.output[0])

    @property
    def op_type(self) -> str:
        """Operator of the node."""
        return str(self.node.op_type)

    @property
    def output(self) -> str:
        """The node's result."""
        return str(self.node.output[0])


@dataclass(frozen=True, eq=False)
class Fused:
    """What one packed operator does: a site, and the neighbours that it takes in.

    Attributes
    ----------
    x, output
        What it reads and gives.
    nodes
        The nodes replaced, in graph order; the last one's place is taken.
    scale, bias
        float64 [K]: the site's with BatchNorm and what follows folded in.
    residual
        A value added before the activation.
    activation, parameters
        "", or one of `ACTIVATIONS` with values for its attributes; "Sign" where the operator gives the packed
        signs of its result, "Float" where one that computes with integers gives floats.
    binary_input
        Whether the operator takes the sign of its input (+1 for >= 0, else -1) before it multiplies.
    packed_input
        Whether that input is packed signs already.
    zero_scale
        Whether the operator takes a scale of 0; if not, a BatchNorm with a gamma of 0 stays a node.
    quantized
        The site's, with the points of what it gives.
    """

    site: Site
    x: str
    output: str
    nodes: tuple[onnx.NodeProto, ...]
    scale: Array
    bias: Array
    attributes: Mapping[str, object]
    residual: str | None = None
    activation: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    binary_input: bool = False
    packed_input: bool = False
    zero_scale: bool = True
    quantized: Quantized | None = None

    @classmethod
    def alone(cls, site: Site) -> Fused:
        """The operator of a site that takes in no neighbour."""
        return cls(
            site,
            site.x,
            site.output,
            (site.node,),
            site.scale,
            site.bias,
            site.attributes,
            quantized=site.quantized,
        )

    @property
    def kind(self) -> str:
        """Operator family."""
        return self.site.kind

    @property
    def weight(self) -> str:
        """Name of the weight."""
        return self.site.weight

    @property
    def reads(self) -> list[str]:
        """The computed values that it reads."""
        return [self.x, *([self.residual] if self.residual else [])]
