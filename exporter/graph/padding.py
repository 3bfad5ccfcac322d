"""What a convolution's auto_pad comes to in plain numbers."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from .walk import attribute

Image = Sequence[object]


def explicit_pads(
    node: onnx.NodeProto, kernel: Sequence[int], image: Image | None
) -> tuple[list[int], str | None]:
    """(pads, obstacle) of a convolution: begins of all axes, then ends; why they cannot be told, or None.

    Parameters
    ----------
    kernel
        Its spatial sizes.
    image
        Spatial sizes of its input, an int where one is known. With a stride of 1 none is needed.
    """
    axes = len(kernel)
    strides = _ints(node, "strides", [1] * axes)
    dilations = _ints(node, "dilations", [1] * axes)
    mode = attribute(node, "auto_pad", b"NOTSET")
    assert isinstance(mode, bytes)
    name = mode.decode(errors="replace")
    if name in ("NOTSET", ""):
        return _ints(node, "pads", [0] * (2 * axes)), None
    if name == "VALID":
        return [0] * (2 * axes), None
    if name not in ("SAME_UPPER", "SAME_LOWER"):
        return [0] * (2 * axes), f"auto_pad {name} has no packed operator"
    begins, ends = [], []
    for axis, size in enumerate(kernel):
        known = image[axis] if image is not None and axis < len(image) else None
        total = (size - 1) * dilations[axis]
        if strides[axis] != 1:
            if not isinstance(known, int):
                return [0] * (2 * axes), f"auto_pad {name} with a stride: its pads hang on the image's size"
            total = (-(-known // strides[axis]) - 1) * strides[axis] + total + 1 - known
        total = max(0, total)
        half = total // 2 if name == "SAME_UPPER" else total - total // 2
        begins.append(half)
        ends.append(total - half)
    return begins + ends, None


def window(node: onnx.NodeProto, spatial: int, pads: list[int]) -> dict[str, object]:
    """Attributes of a packed convolution beside its shape, of so many spatial axes."""
    ones = [1] * spatial
    return {
        "strides": _ints(node, "strides", ones),
        "pads": pads,
        "dilations": _ints(node, "dilations", ones),
        "group": attribute(node, "group", 1),
    }


def _ints(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    value = attribute(node, name, default)
    assert isinstance(value, list)
    return [int(item) for item in value]
