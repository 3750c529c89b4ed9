"""What the machine can do at best, measured: bytes read and products multiplied in a second."""

from __future__ import annotations

import ctypes
import time

import numpy as np

from . import native

SECONDS = 0.5  # of one measurement
SIZE = 1536  # rows and columns of the square that is multiplied
LINE = "op y ingot::Linear@1 in=x,w,- out=y"


def read_rate(threads: int) -> float:
    """Bytes a second that `threads` threads read, in order, from far more memory than caches."""
    result = ctypes.c_double()
    native.check(native.library().ingot_measure(b"read", threads, SECONDS, ctypes.byref(result)))
    return result.value


def product_rate(threads: int, dtype: str, kernel: str) -> float:
    """Operations a second of the engine's own Linear on a square, the best of a few calls."""
    kind = native.DTYPES[dtype][1]
    draw = np.random.default_rng(0)
    x_TD, w_FD = (draw.standard_normal((SIZE, SIZE), np.float32).astype(kind) for _ in range(2))
    y_TF = np.zeros((SIZE, SIZE), kind)
    best, ends = 0.0, time.perf_counter() + SECONDS
    while True:
        started = time.perf_counter()
        native.run_op(
            LINE, [x_TD, w_FD, None], [y_TF],
            None if kernel in ("auto", "batch_invariant") else kernel, threads=threads,
        )  # fmt: skip
        now = time.perf_counter()
        best = max(best, 2 * SIZE**3 / (now - started))
        if now > ends:
            return best
