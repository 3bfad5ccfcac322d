"""A dense model with its weights as a lossy file stores them: what such a file has to compute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from ...errors import VerificationError
from ...text import shown
from ..graph.find import find
from ..graph.index import GraphIndex
from ..graph.walk import fresh, value_names
from ..plan.encode import encode
from ..plan.values import LOSSLESS, Encoded, parse
from ..rewrite.packed_nodes import packed_tensor
from . import compare


def with_values(model: onnx.ModelProto, encoded: Mapping[str, tuple[Encoded, bool]]) -> onnx.ModelProto:
    """A copy of the model in which weights hold what their encodings decode to.

    Parameters
    ----------
    encoded
        Weight name to its encoding, outputs first, and whether the weight is its transpose. A weight may be
        an initializer, or computed from others.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    used = value_names(copy.graph)
    for node in copy.graph.node:
        for place, name in enumerate(node.output):
            if name in encoded:
                node.output[place] = fresh(name, used)
                copy.graph.initializer.add().name = name
    for tensor in copy.graph.initializer:
        if tensor.name in encoded:
            encoding, transposed = encoded[tensor.name]
            array = encoding.decode()
            array = array.T if transposed else array
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    return copy


def encodings(index: GraphIndex, written: onnx.ModelProto, values: str) -> dict[str, tuple[Encoded, bool]]:
    """The encoding of every packed weight of a file, each compared bit for bit with what the file holds.

    Parameters
    ----------
    index
        Of the source's dense graph.
    values
        The `--values` that the file says it was written with.

    Raises
    ------
    VerificationError
        Naming a tensor that is not the source's weight stored so.
    """
    sites = {site.weight: site for site in find(index)}
    found = {}
    for name, (one, arrays) in compare.packed_nodes(written).items():
        if one.run == "expanded" or one.fmt.scale_component or one.fmt.sign_operator:
            continue  # exact, as 1-bit weights are: the outputs show whether they are the source's
        site = sites.get(name)
        if site is None or index.constant(name) is None:
            raise VerificationError(f"{shown(name)}: the file packs it, the source has no such weight")
        held = one.fmt.unpack(packed_tensor(one, arrays)).tobytes()
        for spec in (parse(values), LOSSLESS):
            encoding = encode(index, name, site, spec)
            if encoding.array.tobytes() == held:
                found[name] = (encoding, site.transposed)
                break
        else:
            raise VerificationError(f"{shown(name)}: is not the source's weight stored as {values}")
    return found
