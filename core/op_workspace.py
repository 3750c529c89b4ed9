"""Memory that a kernel needs besides its tensors, asked of the compiled half for one op."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from . import native

Input = tuple[str, tuple[int, ...], np.ndarray | None] | None  # dtype word, shape, data if needed


def needed(line: str, inputs: Sequence[Input], n_outputs: int, library: str | None = None) -> int:
    """Bytes for the op that `line` (plan.txt's grammar) names, with inputs of these sizes."""
    arrays = (native.Array * max(1, len(inputs)))()
    kept = []  # as long as the call
    for array, given in zip(arrays, inputs, strict=False):
        if given is None:
            continue
        word, shape, data = given
        array.dtype, array.rank = native.DTYPES[word][0], len(shape)
        array.shape[: len(shape)] = shape
        if data is not None:
            kept.append(np.ascontiguousarray(data))
            array.data = kept[-1].ctypes.data
    result = ctypes.c_int64()
    native.check(
        native.library().ingot_op_workspace(
            line.encode(), library.encode() if library else None, arrays,
            ctypes.c_int32(len(inputs)), ctypes.c_int32(n_outputs), ctypes.byref(result),
        )
    )  # fmt: skip
    return result.value
