"""What a layer of integers is expected to cost: dense in the runtime, packed in the library's kernel.

Both multiply four input channels of a vector of outputs by one instruction, so the work is counted in groups
of four channels: the dense layer has all of them, the packed one those that hold a non-zero. Without VNNI it
is three instructions for both, and a layer computed in floats takes less: one for a non-zero and a vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

#: Groups of four channels times a vector of outputs, a nanosecond: dense, packed; outputs in a vector. VNNI's
#: (AVX-VNNI's beside dense in AVX512-VNNI) and AVX2's are what layers of ResNet-50 take; of packed ones the
#: others' are a guess.
_RATES = {
    "avx512vnni": (3.7, 2.4, 16),
    "avx512": (2.9, 0.6, 16),
    "avxvnni": (6.4, 4.1, 8),
    "avx2": (3.7, 1.06, 8),
    "scalar": (2.4, 0.1, 4),
}
#: Nanoseconds for a call, for a dense group of weights from memory, and, by target, for a value that goes
#: into or comes out of a dense layer.
_CALL, _GROUP, _VALUE = 1500.0, 0.107, {"avx2": 0.116}
_OTHER_VALUE = 0.05
#: The group of a dense linear layer, where that takes longer.
_LINEAR_GROUP = {"avx2": 0.175}
#: Packed, by target, fitted to layers with 59, 34 and 10 % of the groups: nanoseconds for a call, for
#: a value that goes in, for one that comes out, for a group that is read and made ready to be multiplied, and
#: the least that one takes. Outputs are computed by eights: half a vector of AVX-512. A residual is not
#: counted: dense it is a node of its own, and dense neighbours cost turns of the layout. AVX-VNNI's are of
#: ResNet-50 and VGG-11-BN in the encoding of AVX512-VNNI.
_PACKED = {
    "avx512vnni": (3000.0, 0.064, 0.12, 0.3, 1.6),
    "avxvnni": (6000.0, 0.056, 0.19, 1.2, 1.6),
    "avx2": (31000.0, 0.0, 0.35, 3.6, 0.0),
}
_AT_ONCE = 8
#: Nanoseconds of a packed group read from memory, and for each of a few rows of a linear layer, by target,
#: and how many rows those are: with VBMI the kernel takes more at a time.
_FEW = {"avx512vnni": (0.025, 0.025, 16), "avxvnni": (0.02, 0.2, 1)}
#: Computed in floats, by target, fitted to layers of ResNet-50 and VGG-11 with 90 and 95 % zeros in their
#: nets: nanoseconds for a call, for a non-zero times a vector of outputs, for a non-zero that is read, for
#: a value that goes in, for one that comes out; and for a non-zero times one row of a linear layer.
FLOATS = {
    "avx512": (21000.0, 0.65, 0.58, 0.032, 0.19, 0.55),
    "avx2": (26000.0, 0.37, 0.87, 0.071, 0.28, 0.6),
    "scalar": (71000.0, 0.44, 1.94, 0.275, 1.58, 1.1),
}


def fitted(names: Iterable[str], target: str, otherwise: str = "avx2") -> str:
    """Of the fitted targets that whose name `target` begins with: it has what that one has, and more."""
    return max((name for name in names if target.startswith(name)), key=len, default=otherwise)


def seconds(
    groups: int, held: int, outputs: int, inputs: int, results: int, target: str, *, linear: bool = False
) -> tuple[float, float]:
    """Expected seconds of one run, dense and packed.

    Parameters
    ----------
    groups, held
        Groups of four input channels in the weight, and those that hold a non-zero.
    outputs
        Outputs of each output channel.
    inputs, results
        Elements that go in, and that come out.
    target
        Instruction set, as the library names it; of one that is not known, AVX2's costs.
    linear
        Whether the outputs are rows of a matrix product, not pixels.
    """
    target = fitted(_RATES, target, target)
    dense, packed, width = _RATES.get(target, _RATES["avx2"])
    vectors = math.ceil(outputs / width)
    around = _CALL + _VALUE.get(target, _OTHER_VALUE) * (inputs + results)
    # Dense products of few rows are not padded to a vector; on AVX2 those of windows are such products.
    lanes = outputs / width if linear or target in _LINEAR_GROUP else vectors
    if linear:
        fast = around + groups * max(lanes / dense, _LINEAR_GROUP.get(target, _GROUP))
    else:
        fast = around + groups * lanes / dense + _GROUP * groups
    once, each, rows = _FEW.get(target, (0.0, 0.0, 0))
    if linear and outputs <= rows:
        return 1e-9 * fast, 1e-9 * (around + held * (once + each * outputs))
    if target in _PACKED:
        call, into, out, read, least = _PACKED[target]
        passes = math.ceil(outputs / _AT_ONCE) * _AT_ONCE / width
        slow = call + into * inputs + out * results + held * max(passes / packed + read, least)
    else:
        slow = around + max(held * vectors / packed, 4 * _GROUP * held)
    return 1e-9 * fast, 1e-9 * slow


def in_floats(
    nnz: int, outputs: int, inputs: int, results: int, target: str, *, linear: bool = False
) -> float:
    """Expected seconds of one run of a packed layer that is computed in floats; infinite where it never is.

    Parameters
    ----------
    nnz
        Non-zeros of the weight.
    outputs, inputs, results, target, linear
        As `seconds` has them.
    """
    if target not in FLOATS:
        return math.inf
    call, product, read, into, out, alone = FLOATS[target]
    if linear and outputs == 1:
        return 1e-9 * (_CALL + nnz * alone + into * inputs + out * results)
    vectors = math.ceil(outputs / _RATES[target][2])
    return 1e-9 * (call + nnz * (vectors * product + read) + into * inputs + out * results)
