"""Rows of a weight as e4m3 codes and float32 scales; equal to ml_dtypes' conversion, saturating.

scale = max(max|w| / 448, 1e-12); codes = round-to-nearest-even(w / scale). F rows, D columns.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np

from core.command import PlanError

LARGEST = np.float32(448)  # the largest finite e4m3 number
SMALLEST_SCALE = np.float32(1e-12)  # keeps a row of zeros from dividing by zero
BLOCK = 1 << 15  # numbers converted at a time, so that what lies between stays in the cache

_EXPONENT = np.uint32(0x7F800000)  # of a float32
_SMALLEST_NORMAL = np.uint32(121 << 23)  # 2**-6, e4m3's: below it the steps stay the same
_TO_STEP = np.uint32(20 << 23)  # from 2**e to the number whose float32 neighbours are e4m3 steps


def quantized(name: str, per_tensor: bool) -> Callable:
    """A function from rows of `name` to (codes, scale); per tensor it must get all of them."""

    def quantize(rows_FD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        largest_F = _largest(rows_FD)
        if not np.isfinite(largest_F).all():
            raise PlanError(
                f"{name} holds an infinity or what is no number, which has no scale; repair the "
                f"checkpoint, or keep this weight's precision: add {name} to quant.skip"
            )
        if per_tensor:
            largest_F = np.full_like(largest_F, largest_F.max())
        scale_F = np.maximum(largest_F / LARGEST, SMALLEST_SCALE)
        codes_FD = np.empty(rows_FD.shape, np.uint8)
        step = max(1, BLOCK // rows_FD.shape[1])
        for start in range(0, len(rows_FD), step):
            part = np.s_[start : start + step]
            codes_FD[part] = e4m3(_floats(rows_FD[part]) / scale_F[part, None])
        scale = scale_F[0] if per_tensor else scale_F
        return codes_FD.view(ml_dtypes.float8_e4m3fn), np.asarray(scale)

    return quantize


def e4m3(x: np.ndarray) -> np.ndarray:
    """The codes, as uint8, of finite float32 numbers: to nearest, ties to even, at most ±448.

    Adding 2**(e + 20) to a number of exponent e leaves its e4m3 mantissa, rounded by the addition,
    in the lowest bits of the sum; below 2**-6 the exponent stays -6, as e4m3's subnormals want.
    """
    sign = (x.view(np.uint32) >> np.uint32(24)) & np.uint32(0x80)
    size = np.minimum(np.abs(x), LARGEST)
    exponent = np.maximum(size.view(np.uint32) & _EXPONENT, _SMALLEST_NORMAL)
    magic = exponent + _TO_STEP
    size += magic.view(np.float32)
    code = size.view(np.uint32)
    code -= magic
    exponent -= _SMALLEST_NORMAL
    exponent >>= np.uint32(20)
    code += exponent
    code |= sign
    return code.astype(np.uint8)


def _floats(rows: np.ndarray) -> np.ndarray:
    """`rows` in float32; ml_dtypes' own conversion from bfloat16 is slower."""
    if rows.dtype == ml_dtypes.bfloat16:
        return (rows.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return rows.astype(np.float32, copy=False)


def _largest(rows_FD: np.ndarray) -> np.ndarray:
    """The largest magnitude of each row, in float32; without a sign, bits sort as numbers do."""
    if rows_FD.dtype == np.float32:
        return (rows_FD.view(np.uint32) & np.uint32(0x7FFFFFFF)).max(axis=1).view(np.float32)
    bits = (rows_FD.view(np.uint16) & np.uint16(0x7FFF)).max(axis=1)
    return _floats(bits.view(rows_FD.dtype))
