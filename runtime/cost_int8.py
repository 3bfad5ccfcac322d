"""What a layer of integers is expected to cost: dense in the runtime, packed in the library's kernel.

Both multiply four input channels of a vector of outputs by one instruction, so the work is counted in groups
of four channels: the dense layer has all of them, the packed one those that hold a non-zero. Without VNNI it
is three instructions for both.
"""

from __future__ import annotations

import math

#: Groups of four channels times a vector of outputs, a nanosecond: dense, packed; outputs in a vector.
_RATES = {
    "avx512vnni": (7.2, 4.8, 16),
    "avx512": (2.9, 1.9, 16),
    "avx2": (2.6, 1.7, 8),
    "scalar": (2.6, 0.2, 8),
}
#: Nanoseconds for a call, for a value that goes in or comes out, and for a group of weights from memory.
_CALL, _VALUE, _GROUP = 1500.0, 0.05, 0.24


def seconds(groups: int, held: int, outputs: int, values: int, target: str) -> tuple[float, float]:
    """Expected seconds of one run, dense and packed.

    Parameters
    ----------
    groups, held
        Groups of four input channels in the weight, and those that hold a non-zero.
    outputs
        Outputs of each output channel.
    values
        Elements that go in and come out.
    target
        Instruction set, as the library names it; of one that is not known, AVX2's costs.
    """
    dense, packed, width = _RATES.get(target, _RATES["avx2"])
    vectors, around = math.ceil(outputs / width), _CALL + _VALUE * values
    return (
        1e-9 * (around + max(groups * vectors / dense, _GROUP * groups)),
        1e-9 * (around + max(held * vectors / packed, 2 * _GROUP * held)),
    )
