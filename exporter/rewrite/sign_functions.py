"""Packed signs in standard operators: what passes between the 1-bit operators, spelled for any runtime.

Packed signs are uint8 [N, H, W, ceil(C / 8)] or [..., ceil(C / 8)]: channels last, 1 = negative, least
significant bit first, the bits past the last channel zero. The native operators pass them on as they are; a
stock runtime unpacks and packs them with the text below, which decides every sign alike. Whatever depends on
the number of channels alone is folded when a session is created.
"""

from __future__ import annotations

#: First in every body that packs or unpacks.
CONSTANTS = """
    b_0 = Constant <value = int64 {0}> ()
    b_1 = Constant <value = int64 {1}> ()
    b_8 = Constant <value = int64 {8}> ()
    b_7 = Constant <value = int64 {7}> ()
    b_plus = Constant <value = float {1.0}> ()
    b_minus = Constant <value = float {-1.0}> ()
    b_zero = Constant <value = float {0.0}> ()
    b_two = Constant <value = float {2.0}> ()
"""

#: What bit each channel is worth and which byte it is in; `{channels}` is int64 [1].
_PLACES = """
    {p}_count = Squeeze ({channels})
    {p}_number = Range (b_0, {p}_count, b_1)
    {p}_byte = Div ({p}_number, b_8)
    {p}_bit = Mod ({p}_number, b_8)
    {p}_exponent = Cast <to = 1> ({p}_bit)
    {p}_worth = Pow (b_two, {p}_exponent)
"""

#: Packed signs `{source}` to float signs `{target}`: every channel looks at its bit of a copy of its byte.
#: (A cast to bool, not Equal: onnxruntime 1.20 compares no uint8.)
_UNPACK = (
    _PLACES
    + """
    {p}_masks = Cast <to = 2> ({p}_worth)
{move}
    {p}_copies = Gather <axis = {axis}> ({p}_bytes, {p}_byte)
    {p}_bits = BitwiseAnd ({p}_copies, {p}_mask)
    {p}_lower = Cast <to = 9> ({p}_bits)
    {target} = Where ({p}_lower, b_minus, b_plus)
"""
)
_FROM_PIXELS = """
    {p}_axes = Constant <value_ints = [1, 2]> ()
    {p}_mask = Unsqueeze ({p}_masks, {p}_axes)
    {p}_bytes = Transpose <perm = [0, 3, 1, 2]> ({source})
"""
_FROM_ROWS = """
    {p}_mask = Identity ({p}_masks)
    {p}_bytes = Identity ({source})
"""

#: Float `{source}` to packed signs `{target}`: bytes are products with a matrix [bytes, channels] of powers
#: of two, whose sums are exact.
_PACK = (
    _PLACES
    + """
    {p}_ceil = Add ({p}_count, b_7)
    {p}_length = Div ({p}_ceil, b_8)
    {p}_all = Range (b_0, {p}_length, b_1)
    {p}_first = Constant <value_ints = [1]> ()
    {p}_column = Unsqueeze ({p}_all, {p}_first)
    {p}_home = Equal ({p}_byte, {p}_column)
    {p}_matrix = Where ({p}_home, {p}_worth, b_zero)
    {p}_upper = GreaterOrEqual ({source}, b_zero)
    {p}_flags = Where ({p}_upper, b_zero, b_plus)
{move}
"""
)
_TO_PIXELS = """
    {p}_axes = Constant <value_ints = [2, 3]> ()
    {p}_kernel = Unsqueeze ({p}_matrix, {p}_axes)
    {p}_sums = Conv ({p}_flags, {p}_kernel)
    {p}_bytes = Cast <to = 2> ({p}_sums)
    {target} = Transpose <perm = [0, 2, 3, 1]> ({p}_bytes)
"""
_TO_ROWS = """
    {p}_turned = Transpose <perm = [1, 0]> ({p}_matrix)
    {p}_sums = MatMul ({p}_flags, {p}_turned)
    {target} = Cast <to = 2> ({p}_sums)
"""


def unpack(source: str, target: str, channels: str, pixels: bool) -> str:
    """Packed signs `source` of so many `channels` to float signs `target`: of pixels, or of rows."""
    names = {"p": "u", "source": source, "target": target, "channels": channels}
    move = (_FROM_PIXELS if pixels else _FROM_ROWS).format(**names)
    return _UNPACK.format(move=move, axis=1 if pixels else -1, **names)


def pack(source: str, target: str, channels: str, pixels: bool) -> str:
    """Float `source` to packed signs `target`."""
    names = {"p": "k", "source": source, "target": target, "channels": channels}
    return _PACK.format(move=(_TO_PIXELS if pixels else _TO_ROWS).format(**names), **names)


#: Packed Y of packed X: the largest sign of every window, the smallest where a bit of `falling` is set.
POOL_BODY = (
    CONSTANTS
    + """
    q_bytes = Shape (falling)
    q_channels = Mul (q_bytes, b_8)
    q_turned = BitwiseXor (X, falling)
"""
    + unpack("q_turned", "q_signs", "q_channels", pixels=True)
    + """
    q_largest = MaxPool <kernel_shape: ints = @kernel_shape, strides: ints = @strides,
                         pads: ints = @pads> (q_signs)
"""
    + pack("q_largest", "q_packed", "q_channels", pixels=True)
    + """
    Y = BitwiseXor (q_packed, falling)
"""
)
