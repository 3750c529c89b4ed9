"""The fast CPU kernels of Linear and ScaledLinear against numpy and against themselves."""

import numpy as np
import pytest
from cpu_kernels import BF16, F8, F16, F32, I8, KERNELS, ROUNDING, numbers, require

from core import native

# What a float32 sum may add to the one rounding at the end, as a part of the sum of magnitudes.
# Most seen over the shapes below: 5e-8 for avx512, 8e-8 for avx2, 1.6e-7 for portable.
SUMMATION = 5e-7


@pytest.fixture(params=KERNELS)
def kernel(request):
    """The name of a kernel; skipped where this machine cannot run it."""
    return require(request.param)


def linear(x_TD, weight_FD, bias_F=None, kernel=None, threads=2):
    y_TF = np.zeros((len(x_TD), len(weight_FD)), x_TD.dtype)
    line = f"op n ingot::Linear@1 in=x,w,{'-' if bias_F is None else 'b'} out=y"
    inputs = [x_TD, weight_FD, bias_F]
    return native.run_op(line, inputs, [y_TF], kernel=kernel, threads=threads)[0]


def scaled_linear(x_TD, x_scale_T, weight_FD, scale, bias_F, dtype, kernel=None, threads=2):
    y_TF = np.zeros((len(x_TD), len(weight_FD)), dtype)
    names = [
        "-" if a is None else n
        for n, a in zip("xawsb", [x_TD, x_scale_T, weight_FD, scale, bias_F], strict=True)
    ]
    line = f"op n ingot::ScaledLinear@1 in={','.join(names)} out=y dtype=d:{native.WORDS[dtype]}"
    inputs = [x_TD, x_scale_T, weight_FD, scale, bias_F]
    return native.run_op(line, inputs, [y_TF], kernel=kernel, threads=threads)[0]


def check_product(y_TF, x_TD, weight_FD, bias_F=None):
    """y is x weight^T + bias up to one rounding and the error of a float32 sum."""
    x, weight = x_TD.astype(np.float64), weight_FD.astype(np.float64)
    bias = 0 if bias_F is None else bias_F.astype(np.float64)
    exact, size = x @ weight.T + bias, np.abs(x) @ np.abs(weight).T + np.abs(bias)
    error = np.abs(y_TF.astype(np.float64) - exact)
    assert np.all(error <= 1.001 * ROUNDING[y_TF.dtype] * np.abs(exact) + SUMMATION * size + 1e-7)


SHAPES = [(1, 1, 1), (1, 7, 3), (2, 33, 5), (3, 64, 9), (7, 100, 37), (16, 257, 4), (37, 1100, 70)]


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("T, D, F", SHAPES)
def test_linear_is_the_product(kernel, dtype, T, D, F):
    """Linear equals the product in float64 up to one rounding, whatever the sizes."""
    rng = np.random.default_rng(T * D + F)
    x_TD, weight_FD = numbers(rng, (T, D), dtype), numbers(rng, (F, D), dtype, D**-0.5)
    bias_F = numbers(rng, (F,), dtype) if F % 2 else None
    check_product(linear(x_TD, weight_FD, bias_F, kernel), x_TD, weight_FD, bias_F)


@pytest.mark.parametrize("weight_dtype", [F8, I8], ids=str)
@pytest.mark.parametrize("x_dtype", [F32, F16, BF16, F8, I8], ids=str)
@pytest.mark.parametrize("T, D, F", SHAPES)
def test_scaled_linear_is_the_product(kernel, x_dtype, weight_dtype, T, D, F):
    """Codes multiply as the numbers they stand for, subnormal ones and -128 included."""
    rng = np.random.default_rng(T * D + F)
    x_TD, weight_FD = numbers(rng, (T, D), x_dtype), numbers(rng, (F, D), weight_dtype)
    scale = np.array(rng.uniform(1e-4, 2e-3, (F,) if D % 2 else ()), F32)
    coded = x_dtype in (F8, I8)
    x_scale_T = rng.uniform(1e-3, 2e-2, T).astype(F32) if coded else None
    dtype = BF16 if coded else x_dtype
    bias_F = numbers(rng, (F,), dtype) if F % 2 else None
    y_TF = scaled_linear(x_TD, x_scale_T, weight_FD, scale, bias_F, dtype, kernel)
    x = x_TD.astype(np.float64) * (x_scale_T[:, None] if coded else 1)
    weight = weight_FD.astype(np.float64) * np.reshape(scale, (-1, 1))
    check_product(y_TF, x, weight, bias_F)


@pytest.mark.parametrize("weight_dtype", [F8, I8], ids=str)
@pytest.mark.parametrize("x_dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("T", [1, 40])
def test_every_code_has_its_value(kernel, x_dtype, weight_dtype, T):
    """A weight of every code, times 1, is the number that ml_dtypes says; NaN stays NaN."""
    codes = np.arange(256, dtype=np.uint8).view(weight_dtype)
    weight_FD = np.zeros((256, 70), weight_dtype)
    weight_FD[:, 69] = weight_FD[:, 3] = codes
    x_TD = np.zeros((T, 70), x_dtype)
    x_TD[:, 69] = 1
    y_TF = scaled_linear(x_TD, None, weight_FD, np.array(1, F32), None, F32, kernel)
    nan = np.isnan(codes.astype(F32))
    np.testing.assert_array_equal(y_TF[:, ~nan], np.tile(codes[~nan].astype(F32), (T, 1)))
    assert np.all(np.isnan(y_TF[:, nan]))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_results_round_to_nearest_even(kernel, dtype):
    """A float32 sum becomes the nearest number of the result's type, as ml_dtypes rounds it."""
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    scale_F = bits.view(F32)
    scale_F = scale_F[np.isfinite(scale_F) & (np.abs(scale_F) > 1e-36)]
    scale_F = np.concatenate([scale_F, [1 + 2.0**-8, 1 + 3 * 2.0**-8, 65519.9, 65520, 3e-8, 1e-7]])
    scale_F = scale_F.astype(F32)
    weight_FD = np.ones((len(scale_F), 1), I8)
    x_TD = np.ones((1, 1), dtype)
    y_TF = scaled_linear(x_TD, None, weight_FD, scale_F, None, dtype, kernel)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y_TF[0].astype(F32), scale_F.astype(dtype).astype(F32))


LINEAR = [(F32, F32), (F16, F16), (BF16, BF16)]
SCALED_LINEAR = [(BF16, F8), (BF16, I8), (F16, F8), (F8, F8), (I8, I8)]


@pytest.mark.parametrize("D", [50, 1111, 4160])
@pytest.mark.parametrize("x_dtype, weight_dtype", LINEAR + SCALED_LINEAR, ids=str)
def test_a_token_does_not_feel_its_neighbours(kernel, x_dtype, weight_dtype, D):
    """Each row of 37 tokens equals that token alone, and in other company, bit for bit."""
    rng = np.random.default_rng(D)
    x_TD, weight_FD = numbers(rng, (37, D), x_dtype), numbers(rng, (53, D), weight_dtype)
    x_scale_T = rng.uniform(1e-3, 1e-2, 37).astype(F32) if x_dtype in (F8, I8) else None
    scale_F = rng.uniform(1e-3, 1e-2, 53).astype(F32)
    dtype = BF16 if x_dtype in (F8, I8) else x_dtype

    def run(rows, threads=2):
        if x_dtype == weight_dtype and x_scale_T is None:
            return linear(x_TD[rows], weight_FD, None, kernel, threads)
        scales = None if x_scale_T is None else x_scale_T[rows]
        return scaled_linear(x_TD[rows], scales, weight_FD, scale_F, None, dtype, kernel, threads)

    whole = run(slice(None)).tobytes()
    assert run(slice(None), threads=1).tobytes() == whole
    alone = [run(slice(t, t + 1)) for t in range(37)]
    assert np.concatenate(alone).tobytes() == whole
    parts = [run(slice(a, b), threads=1) for a, b in [(0, 5), (5, 11), (11, 18), (18, 37)]]
    assert np.concatenate(parts).tobytes() == whole
