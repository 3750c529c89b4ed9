"""Rows of a weight as integer codes with a scale, and perhaps a zero point, for each group along D.

Rounding to nearest even, no calibration: code = round(w / scale) + zero. Symmetric: the scale takes
a group's largest magnitude onto the largest code, the zero point is 0. Asymmetric: the range from
the least (at most 0) to the greatest (at least 0) fills all codes. Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv:1712.05877,
section 2.1. F rows, D columns, N groups of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from core.command import PlanError

BLOCK = 1 << 16  # numbers converted at a time, so that what lies between stays in the cache


@dataclass(frozen=True)
class Codes:
    """The codes of a weight: `bits` of them, with zero points or not."""

    bits: int  # 4 or 8
    zero_point: bool

    @property
    def dtype(self) -> ir.DataType:
        if self.bits == 8:
            return ir.DataType.INT8
        return ir.DataType.UINT4 if self.zero_point else ir.DataType.INT4

    @property
    def least(self) -> int:
        """Of the codes; symmetric ones leave the code out that has no opposite."""
        if self.dtype == ir.DataType.UINT4:
            return 0
        return -(1 << (self.bits - 1)) + (0 if self.zero_point else 1)

    @property
    def greatest(self) -> int:
        return self.least + (1 << self.bits) - (1 if self.zero_point else 2)


def quantized(
    name: str, key: str, codes: Codes, group: int, scale_dtype: ir.DataType, flat: bool = False
) -> Callable:
    """A function from rows of `name` to (codes, scale) or (codes, scale, zero).

    The scale is rounded to `scale_dtype` first, so that the codes are the nearest for it. `key` is
    the config key that keeps a weight's precision. `flat`: one scale a row, without the axis N.
    """

    def quantize(rows_FD: np.ndarray) -> tuple[np.ndarray, ...]:
        F, D = rows_FD.shape
        codes_FD, zero_FN = np.empty((F, D), np.int8), np.empty((F, D // group), np.int8)
        scale_FN = np.empty(zero_FN.shape, scale_dtype.numpy())
        step = max(1, BLOCK // D)
        for start in range(0, F, step):
            part = np.s_[start : start + step]
            codes_FD[part], scale_FN[part], zero_FN[part] = _quantize(
                rows_FD[part], codes, group, scale_FN.dtype
            )
        if not np.isfinite(scale_FN.astype(np.float32)).all():
            raise PlanError(
                f"{name} holds an infinity, what is no number, or a range that has no scale in "
                f"{scale_dtype.numpy()}; repair the checkpoint, or keep this weight's precision: "
                f"add {name} to {key}"
            )
        dtype = codes.dtype.numpy()
        scale = scale_FN[:, 0] if flat else scale_FN
        zero = (zero_FN.astype(dtype),) if codes.zero_point else ()
        return codes_FD.astype(dtype), scale, *zero

    return quantize


def _quantize(
    rows_FD: np.ndarray, codes: Codes, group: int, dtype: np.dtype
) -> tuple[np.ndarray, ...]:
    """Codes, scales that `dtype` holds, and zero points of some rows."""
    F, D = rows_FD.shape
    w = _floats(rows_FD).reshape(F, D // group, group)
    least, greatest = np.float32(codes.least), np.float32(codes.greatest)
    with np.errstate(invalid="ignore", over="ignore"):
        if codes.zero_point:
            low, high = np.minimum(w.min(2), 0), np.maximum(w.max(2), 0)
            scale = _rounded((high - low) / (greatest - least), dtype)
            zero = np.clip(np.rint(least - low / scale), least, greatest)
        else:
            scale = _rounded(np.abs(w).max(2) / greatest, dtype)
            zero = np.zeros_like(scale)
        q = np.rint(w / scale[..., None])
        q += zero[..., None]
        np.clip(q, least, greatest, out=q)
        return q.reshape(F, D).astype(np.int8), scale, zero.astype(np.int8)


def _rounded(scale: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`scale` as `dtype` holds it, in float32; 1 for a group of zeros."""
    kept = scale.astype(dtype).astype(np.float32)
    return np.where(kept == 0, np.float32(1), kept)


def _floats(rows: np.ndarray) -> np.ndarray:
    """`rows` in float32; ml_dtypes' own conversion from bfloat16 is slower."""
    if rows.dtype == ml_dtypes.bfloat16:
        return (rows.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return rows.astype(np.float32, copy=False)
