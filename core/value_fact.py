"""What is known of a value where every size is a number: its type, its shape, small integers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from .command import UserError

LARGEST_DATA = 64  # elements of an integer tensor that is followed as data
INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


class ShapeError(UserError):
    """Types or shapes that do not fit, or that cannot be known."""


class Fact(NamedTuple):
    """One value with concrete sizes."""

    dtype: int  # onnx.TensorProto.DataType
    shape: tuple[int, ...]
    data: bytes | None = None  # of a small integer tensor, where it is known

    def array(self) -> np.ndarray:
        """The data; a copy, so that it may be changed."""
        kind = ir.DataType(self.dtype).numpy()
        return np.frombuffer(self.data, kind).reshape(self.shape).copy()


def data_of(tensor: ir.TensorProtocol) -> bytes | None:
    """The bytes of a small integer tensor, else None."""
    if tensor.dtype not in INTEGERS or math.prod(tensor.shape) > LARGEST_DATA:
        return None
    return np.ascontiguousarray(tensor.numpy()).tobytes()


def fact_of(array: np.ndarray) -> Fact:
    """The fact of an array; with its data if that is small and of integers."""
    tensor = ir.tensor(array)
    return Fact(int(tensor.dtype), tuple(array.shape), data_of(tensor))
