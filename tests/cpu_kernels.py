"""What the tests of the fast CPU kernels share: which there are, random numbers, rounding."""

import ml_dtypes
import numpy as np
import pytest

from core import native

KERNELS = ["avx512", "avx2", "portable"]
F32, F16, BF16 = np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
F8, I8 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(np.int8)
I4, U4 = np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)
# Half a unit in the last place of the result's type.
ROUNDING = {F32: 2.0**-24, F16: 2.0**-11, BF16: 2.0**-8}


def require(kernel):
    """`kernel`; the test is skipped where this machine cannot run it."""
    names = {
        row["name"]
        for op in native.op_table()["ops"]
        if (op["domain"], op["name"]) == ("ingot", "Linear")
        for row in op["kernels"]
    }
    if kernel not in names:
        pytest.skip(f"{kernel} is not compiled for this architecture")
    x, y = np.ones((1, 4), F32), np.zeros((1, 1), F32)
    try:
        native.run_op("op n ingot::Linear@1 in=x,w,- out=y", [x, x, None], [y], kernel=kernel)
    except Exception as error:
        if "instructions" not in str(error):
            raise
        pytest.skip(f"{kernel}: {error}")
    return kernel


def numbers(rng, shape, dtype, scale=1.0):
    """Random numbers of any type; codes use their whole range."""
    if dtype == I8:
        return rng.integers(-128, 128, shape, dtype=np.int8)
    if dtype in (I4, U4):
        return (rng.integers(0, 16, shape) - (8 if dtype == I4 else 0)).astype(dtype)
    if dtype == F8:
        codes = rng.integers(0, 256, shape, dtype=np.uint8)
        return np.where((codes & 127) == 127, 0, codes).astype(np.uint8).view(F8)
    return (rng.standard_normal(shape) * scale).astype(dtype)
