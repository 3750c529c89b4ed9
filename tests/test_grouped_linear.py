"""The fast CPU kernels of GroupedLinear against numpy and against themselves."""

import numpy as np
import pytest
from cpu_kernels import BF16, F16, F32, I4, I8, KERNELS, ROUNDING, U4, numbers, require

from core import native

# What the float32 sums may add to the one rounding at the end, as a part of the sum of magnitudes,
# those of zero points included. Most seen over the shapes below: 9e-8.
SUMMATION = 5e-7
CODES = [I4, U4, I8]
# T, D, elements of a group, F. Groups of part of a block of codes, of some blocks, of all of a row;
# rows that end within a block; groups that no block is a multiple of.
SHAPES = [
    (1, 64, 32, 5),
    (2, 128, 128, 7),
    (3, 160, 32, 33),
    (5, 256, 64, 37),
    (7, 96, 96, 4),
    (1, 50, 50, 3),
    (4, 36, 6, 9),
    (16, 1024, 128, 70),
    (37, 352, 16, 41),
    (9, 768, 256, 35),
    (2, 40, 8, 6),
]


@pytest.fixture(params=KERNELS)
def kernel(request):
    """The name of a kernel; skipped where this machine cannot run it."""
    return require(request.param)


def grouped(x_TD, codes_FD, scale_FN, zero_FN, bias_F, kernel, threads=2):
    y_TF = np.zeros((len(x_TD), len(codes_FD)), x_TD.dtype)
    names = f"x,c,s,{'-' if zero_FN is None else 'z'},{'-' if bias_F is None else 'b'}"
    inputs = [x_TD, codes_FD, scale_FN, zero_FN, bias_F]
    line = f"op n ingot::GroupedLinear@1 in={names} out=y"
    return native.run_op(line, inputs, [y_TF], kernel=kernel, threads=threads)[0]


def wide(array):
    return array.astype(np.float64)


@pytest.mark.parametrize("zeros", [False, True], ids=["symmetric", "zero points"])
@pytest.mark.parametrize("codes", CODES, ids=str)
@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
def test_product_of_codes(kernel, dtype, codes, zeros):
    """y equals x ((codes - zero) scale)^T in float64 up to one rounding, whatever the sizes."""
    for T, D, group, F in SHAPES:
        rng = np.random.default_rng(T * D + F)
        x_TD, codes_FD = numbers(rng, (T, D), dtype), numbers(rng, (F, D), codes)
        scale_FN = rng.uniform(0.5, 1.5, (F, D // group)).astype([F32, F16, BF16][F % 3])
        zero_FN = numbers(rng, (F, D // group), codes).astype(I8) if zeros else None
        bias_F = numbers(rng, (F,), dtype) if F % 2 else None
        y_TF = wide(grouped(x_TD, codes_FD, scale_FN, zero_FN, bias_F, kernel))
        zero = np.repeat(wide(zero_FN), group, 1) if zeros else 0
        scale, bias = np.repeat(wide(scale_FN), group, 1), 0 if bias_F is None else wide(bias_F)
        exact = wide(x_TD) @ ((wide(codes_FD) - zero) * scale).T + bias
        size = np.abs(wide(x_TD)) @ ((np.abs(wide(codes_FD)) + np.abs(zero)) * scale).T
        bound = 1.001 * ROUNDING[dtype] * np.abs(exact) + SUMMATION * (size + np.abs(bias))
        assert np.all(np.abs(y_TF - exact) <= bound), (T, D, group, F)


@pytest.mark.parametrize("codes", CODES, ids=str)
@pytest.mark.parametrize("T", [1, 40])
def test_every_code_has_its_value(kernel, codes, T):
    """A weight of every code, times 1, is that integer, minus its zero point."""
    bits, D = (8 if codes == I8 else 4), 256
    every = np.arange(1 << bits).astype(np.uint8)
    every = every.view(I8) if codes == I8 else every.astype(U4) if codes == U4 else (
        every.astype(I8) - 8).astype(I4)  # fmt: skip
    codes_FD = np.zeros((len(every), D), codes)
    codes_FD[:, 67] = every
    x_TD = np.zeros((T, D), BF16)
    x_TD[:, 67] = 1
    zero_FN = np.zeros((len(every), D // 64), I8)
    zero_FN[:, 1] = np.arange(len(every)) % 7 - 3
    ones_FN = np.ones(zero_FN.shape, BF16)
    want = every.astype(np.int32) - zero_FN[:, 1]
    y_TF = grouped(x_TD, codes_FD, ones_FN, zero_FN, None, kernel)
    np.testing.assert_array_equal(y_TF.astype(F32), np.tile(want.astype(BF16).astype(F32), (T, 1)))


@pytest.mark.parametrize("zeros", [False, True], ids=["symmetric", "zero points"])
@pytest.mark.parametrize("D, group", [(96, 32), (1152, 64), (2112, 2112)])
@pytest.mark.parametrize("codes", CODES, ids=str)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_a_token_does_not_feel_its_neighbours(kernel, dtype, codes, D, group, zeros):
    """Each row of 37 tokens equals that token alone, and in other company, bit for bit."""
    rng = np.random.default_rng(D)
    x_TD, codes_FD = numbers(rng, (37, D), dtype), numbers(rng, (53, D), codes)
    scale_FN = rng.uniform(1e-3, 1e-2, (53, D // group)).astype(dtype)
    zero_FN = numbers(rng, scale_FN.shape, codes).astype(I8) if zeros else None

    def run(rows, threads=2):
        return grouped(x_TD[rows], codes_FD, scale_FN, zero_FN, None, kernel, threads)

    whole = run(slice(None)).tobytes()
    assert run(slice(None), threads=1).tobytes() == whole
    alone = [run(slice(t, t + 1)) for t in range(37)]
    assert np.concatenate(alone).tobytes() == whole
    parts = [run(slice(a, b), threads=1) for a, b in [(0, 2), (2, 5), (5, 11), (11, 18), (18, 37)]]
    assert np.concatenate(parts).tobytes() == whole
