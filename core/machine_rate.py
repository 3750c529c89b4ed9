"""What the machine can do at best, measured: bytes read and products multiplied in a second."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass

import numpy as np

from . import native

SECONDS = 0.5  # of one measurement
SQUARE = (1536, 1536, 1536)  # T, D, F of the product on a CPU
WIDE = (4096, 4096, 8192)  # on a GPU: large enough for all of it
LINEAR = "op y ingot::Linear@1 in=x,w,- out=y"
SCALED = "op y ingot::ScaledLinear@1 in=x,s,w,c,- out=y dtype=d:{}"


@dataclass(frozen=True)
class Rates:
    """Of the machine as an engine uses it: a CPU's `threads`, or a GPU where `device` says so.

    `codes` is the type of the numbers that most of the engine's products multiply: f32, bf16, f16,
    or f8e4m3 with scales.
    """

    threads: int
    dtype: str
    codes: str
    kernels: str = "auto"
    device: str | None = None  # "cuda"
    ordinal: int = 0

    @property
    def product(self) -> str:
        """What `operations` multiplies."""
        if self.codes == self.dtype:
            return f"ingot::Linear of {self.dtype}"
        return f"ingot::ScaledLinear of {self.codes}"

    def read(self) -> float:
        """Bytes a second that are read, in order, from far more memory than caches hold."""
        result, library = ctypes.c_double(), native.library()
        if self.device is None:
            native.check(
                library.ingot_measure(b"read", self.threads, SECONDS, ctypes.byref(result))
            )
        else:
            native.check(
                library.ingot_measure_on(
                    self.device.encode(), self.ordinal, b"read", SECONDS, ctypes.byref(result)
                )
            )
        return result.value

    def operations(self) -> float:
        """Operations a second of the engine's own product of large matrices, the best of a few."""
        line, inputs, outputs = self._product()
        size = 2 * outputs[0].size * inputs[0].shape[1]
        if self.device is not None:
            timed = native.time_op(line, inputs, outputs, device=self.device)
            return size / timed.seconds
        best, ends = 0.0, time.perf_counter() + SECONDS
        kernel = None if self.kernels in ("auto", "batch_invariant") else self.kernels
        while True:
            started = time.perf_counter()
            native.run_op(line, inputs, outputs, kernel, threads=self.threads)
            now = time.perf_counter()
            best = max(best, size / (now - started))
            if now > ends:
                return best

    def _product(self) -> tuple[str, list, list]:
        """The line, the inputs and the output of a product."""
        T, D, F = SQUARE if self.device is None else WIDE
        kind = native.DTYPES[self.dtype][1]
        y_TF = np.zeros((T, F), kind)
        x_TD, w_FD = (
            _random(seed, shape, self.codes) for seed, shape in enumerate([(T, D), (F, D)])
        )
        if self.codes == self.dtype:
            return LINEAR, [x_TD, w_FD, None], [y_TF]
        ones = [np.ones(n, np.float32) for n in (T, F)]
        return SCALED.format(self.dtype), [x_TD, ones[0], w_FD, ones[1], None], [y_TF]


def _random(seed: int, shape: tuple[int, int], word: str) -> np.ndarray:
    """Numbers of that type, uniform around 0."""
    if word == "f8e4m3":  # below 2, so that none is NaN
        bytes_ = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        return (bytes_ & 0xBF).view(native.DTYPES[word][1])
    array = np.empty(shape, native.DTYPES[word][1])
    native.random_fill(seed, 0, array, 1.0)
    return array
