"""Linear, ScaledLinear and GroupedLinear on CUDA against float64, and against themselves."""

import ml_dtypes
import numpy as np
import pytest

from core import native

pytestmark = pytest.mark.gpu

F32, F16, BF16 = np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
F8, I8 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(np.int8)
I4, U4 = np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)
ROUNDING = {F32: 2.0**-24, F16: 2.0**-11, BF16: 2.0**-8}  # half a unit in the last place
# What a sum may add to the one rounding at the end, as a part of the sum of magnitudes. Tensor
# cores cut what they add to a few bits below float32; those that multiply e4m3 keep about 14 bits
# of up to 128 products (DeepSeek-V3, arXiv 2412.19437, section 3.5.2): with codes of the whole
# range, sums were up to 3.7e-4 off on an H200, those of cuBLASLt and of our own kernel alike.
SUMMATION = 1e-6
E4M3_SUMMATION = 5e-4
TOKENS = [1, 2, 3, 7, 8, 9, 16, 17, 33, 64, 65, 257, 2048]
SMALL = (336, 1104)  # D, F


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


def run(op, inputs, y_dtype, kernel, attributes=""):
    """y_TF of an op whose first input is x and whose weight has F rows; y is poisoned first."""
    weight = next(a for a in inputs[1:] if a is not None and a.ndim == 2)
    y_TF = np.full((len(inputs[0]), len(weight)), np.nan, y_dtype)
    names = ",".join("-" if a is None else f"i{i}" for i, a in enumerate(inputs))
    line = f"op n ingot::{op}@1 in={names} out=y{attributes}"
    return native.run_op(line, inputs, [y_TF], kernel=kernel, device="cuda")[0]


def linear(x_TD, weight_FD, bias_F, kernel):
    return run("Linear", [x_TD, weight_FD, bias_F], x_TD.dtype, kernel)


def scaled_linear(x_TD, x_scale_T, weight_FD, scale, bias_F, dtype, kernel):
    inputs = [x_TD, x_scale_T, weight_FD, scale, bias_F]
    return run("ScaledLinear", inputs, dtype, kernel, f" dtype=d:{native.WORDS[dtype]}")


def check(
    y_TF, x_TD, weight_FD, bias_F=None, x_scale_T=None, scale=None, summation=SUMMATION, again=False
):
    """y is the product up to one rounding and the error of its sum; says where it is worst.

    again: the sum may be rounded once more before the bias is added, as split sums of cuBLASLt are.
    """
    x, weight = x_TD.astype(np.float64), weight_FD.astype(np.float64)
    factor = np.ones((1, 1))
    if x_scale_T is not None:
        factor = factor * x_scale_T.astype(np.float64)[:, None]
    if scale is not None:
        factor = factor * np.atleast_1d(scale.astype(np.float64))[None]
    bias = 0 if bias_F is None else bias_F.astype(np.float64)
    exact = (x @ weight.T) * factor + bias
    size = (np.abs(x) @ np.abs(weight).T) * np.abs(factor) + np.abs(bias)
    error = np.abs(y_TF.astype(np.float64) - exact)
    # Subnormal numbers of f16 have an absolute rounding.
    rounded = np.abs(exact) + (np.abs(exact - bias) if again and bias_F is not None else 0)
    bound = 1.001 * ROUNDING[y_TF.dtype] * rounded + summation * size + 6e-8
    wrong = ~(error <= bound)
    if wrong.any():
        t, f = np.argwhere(wrong)[0]
        share, nans = np.nanmax(error / bound), np.isnan(y_TF.astype(np.float32)).sum()
        pytest.fail(
            f"x {x_TD.shape} {x_TD.dtype}, weight {weight_FD.shape} {weight_FD.dtype}: "
            f"{wrong.sum()} of {wrong.size} are wrong, {nans} NaN, the first at token {t} row {f}: "
            f"{y_TF[t, f]}, not {exact[t, f]}; the largest error is {share:.3g} of its bound"
        )


@pytest.mark.parametrize("T", TOKENS)
@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("kernel", ["plain", "stream", "tile", "cublaslt", "tuned"])
def test_linear_is_the_product(kernel, dtype, T):
    """Linear equals the product in float64 up to one rounding, with and without a bias."""
    if kernel in ("stream", "tile") and dtype == F32:
        pytest.skip("tensor cores do not multiply float32")
    rng = np.random.default_rng(T)
    D, F = SMALL
    x_TD, weight_FD = numbers(rng, (T, D), dtype), numbers(rng, (F, D), dtype, D**-0.5)
    bias_F = numbers(rng, (F,), dtype) if T % 2 else None

    y_TF = linear(x_TD, weight_FD, bias_F, kernel)

    check(y_TF, x_TD, weight_FD, bias_F, again=kernel in ("cublaslt", "tuned"))


@pytest.mark.parametrize("T, D, F", [(1, 1, 1), (3, 7, 5), (9, 33, 70), (17, 1099, 37)])
@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
def test_odd_sizes_find_a_kernel(dtype, T, D, F):
    """Sizes that suit no tensor core are computed, too."""
    rng = np.random.default_rng(T)
    x_TD, weight_FD = numbers(rng, (T, D), dtype), numbers(rng, (F, D), dtype, D**-0.5)

    check(linear(x_TD, weight_FD, None, None), x_TD, weight_FD)


@pytest.mark.parametrize("D, F", [(4096, 12288), (4096, 4096), (11008, 4096)])
@pytest.mark.parametrize("T", [1, 8, 16, 64])
@pytest.mark.parametrize("kernel", ["stream", "tile", "cublaslt", "tuned"])
def test_sizes_of_llama(kernel, T, D, F):
    """The sizes of Llama-2-7B, in bfloat16."""
    rng = np.random.default_rng(T)
    x_TD, weight_FD = numbers(rng, (T, D), BF16), numbers(rng, (F, D), BF16, D**-0.5)

    check(linear(x_TD, weight_FD, None, kernel), x_TD, weight_FD)


PAIRS = [(F8, F8), (I8, I8), (BF16, F8), (F16, F8), (BF16, I8), (F16, I8)]


@pytest.mark.parametrize("T", TOKENS)
@pytest.mark.parametrize("x_dtype, weight_dtype", PAIRS, ids=str)
@pytest.mark.parametrize("kernel", ["plain", "stream", "tile", "cublaslt", "staged", "tuned"])
def test_scaled_linear_is_the_product(kernel, x_dtype, weight_dtype, T):
    """ScaledLinear multiplies by the token's scale and the row's or the tensor's."""
    if kernel in ("tile", "cublaslt") and (x_dtype, weight_dtype) != (F8, F8):
        pytest.skip(f"{kernel} multiplies e4m3 with e4m3 only")
    rng = np.random.default_rng(T)
    D, F = SMALL
    x_TD, weight_FD = numbers(rng, (T, D), x_dtype), numbers(rng, (F, D), weight_dtype)
    codes = x_dtype in (F8, I8)
    x_scale_T = rng.uniform(0.5, 2, T).astype(F32) if codes else None
    scale = np.asarray(rng.uniform(1e-4, 1e-3, (F,) if T % 2 else ()), F32)
    y_dtype = BF16 if T % 4 else F16
    bias_F = numbers(rng, (F,), y_dtype) if T % 3 else None

    y_TF = scaled_linear(x_TD, x_scale_T, weight_FD, scale, bias_F, y_dtype, kernel)

    short = (x_dtype, weight_dtype) == (F8, F8) and kernel not in ("plain", "stream")
    summation = E4M3_SUMMATION if short else SUMMATION
    again = kernel in ("cublaslt", "tuned")
    check(y_TF, x_TD, weight_FD, bias_F, x_scale_T, scale, summation, again)


@pytest.mark.parametrize("codes", [I4, U4, I8], ids=str)
@pytest.mark.parametrize(
    "T, D, F, group",
    [
        (1, 256, 70, 32),
        (8, 1024, 48, 128),
        (33, 384, 37, 64),
        (100, 256, 96, 128),
        (65, 8192, 2100, 64),
    ],
)
@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("x_dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("kernel", ["stream", "plain", "staged", "tuned"])
def test_grouped_linear_is_the_product(kernel, x_dtype, zero_points, T, D, F, group, codes):
    """GroupedLinear takes the zero from each code and multiplies by the scale of its group.

    In stages, as beyond 64 tokens, weights are first rounded to the type of x; nothing else is.
    """
    rng = np.random.default_rng(D)
    x_TD, codes_FD = numbers(rng, (T, D), x_dtype), numbers(rng, (F, D), codes)
    scale_FN = rng.uniform(1e-3, 1e-2, (F, D // group)).astype(x_dtype)
    zero_FN = rng.integers(-8, 16, (F, D // group), dtype=np.int8) if zero_points else None
    bias_F = numbers(rng, (F,), x_dtype)

    y_TF = run("GroupedLinear", [x_TD, codes_FD, scale_FN, zero_FN, bias_F], x_dtype, kernel)

    zeros = 0 if zero_FN is None else np.repeat(zero_FN.astype(np.float64), group, 1)
    weight_FD = (codes_FD.astype(np.float64) - zeros) * np.repeat(
        scale_FN.astype(np.float64), group, 1
    )
    if kernel == "staged" or (kernel == "tuned" and T > 64):
        weight_FD = weight_FD.astype(x_dtype)
    check(y_TF, x_TD, weight_FD, bias_F, again=kernel in ("staged", "tuned"))


@pytest.mark.parametrize("T", [129, 1000])
@pytest.mark.parametrize("x_dtype, weight_dtype", PAIRS, ids=str)
def test_stages_go_on_where_a_part_ends(x_dtype, weight_dtype, T):
    """Products of more than one part of rows, or of tokens, are whole."""
    rng = np.random.default_rng(T)
    D, F = (9216, 2304) if x_dtype.itemsize == 2 else (128, 16400)
    x_TD, weight_FD = numbers(rng, (T, D), x_dtype), numbers(rng, (F, D), weight_dtype)
    x_scale_T = rng.uniform(0.5, 2, T).astype(F32) if x_dtype.itemsize == 1 else None
    scale_F = rng.uniform(1e-4, 1e-3, F).astype(F32)

    y_TF = scaled_linear(x_TD, x_scale_T, weight_FD, scale_F, None, BF16, "staged")

    summation = E4M3_SUMMATION if x_dtype == F8 else SUMMATION
    check(y_TF, x_TD, weight_FD, None, x_scale_T, scale_F, summation)


@pytest.mark.parametrize("x_dtype, weight_dtype", [(BF16, BF16), (F16, F16), *PAIRS], ids=str)
@pytest.mark.parametrize("kernel", ["plain", "stream"])
def test_a_token_does_not_feel_the_others(kernel, x_dtype, weight_dtype):
    """A token's y has the same bits whatever the number of tokens beside it."""
    rng = np.random.default_rng(5)
    T, D, F = 300, 2064, 112
    x_TD, weight_FD = numbers(rng, (T, D), x_dtype), numbers(rng, (F, D), weight_dtype)
    x_scale_T = rng.uniform(0.5, 2, T).astype(F32)
    scale_F = rng.uniform(1e-4, 1e-3, F).astype(F32)

    def y_TF(tokens):
        if x_dtype == weight_dtype and x_dtype.itemsize == 2:
            return linear(x_TD[tokens], weight_FD, None, kernel)
        x_scale = x_scale_T[tokens] if x_dtype.itemsize == 1 else None
        return scaled_linear(x_TD[tokens], x_scale, weight_FD, scale_F, None, F16, kernel)

    alone = np.concatenate([y_TF(slice(t, t + 1)) for t in (0, 5, 40, 299)])
    for tokens in (slice(0, 8), slice(0, 16), slice(0, 64), slice(0, 300)):
        count = tokens.stop
        places = [i for i, t in enumerate((0, 5, 40, 299)) if t < count]
        found = y_TF(tokens)[[(0, 5, 40, 299)[i] for i in places]]
        assert alone[places].tobytes() == found.tobytes(), f"with {count} tokens"


def test_refuses_what_it_does_not_take():
    """The kernel of tensor cores says what it lacks."""
    x_TD, weight_FD = np.ones((1, 7), BF16), np.ones((4, 7), BF16)

    with pytest.raises(Exception, match="multiples of 16 bytes"):
        linear(x_TD, weight_FD, None, "stream")
