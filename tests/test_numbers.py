"""Between float32 and smaller floats: every code, and the floats where rounding turns."""

import ml_dtypes
import numpy as np
import pytest

from core import native

DTYPES = {
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "f8e4m3": ml_dtypes.float8_e4m3fn,
    "f8e5m2": ml_dtypes.float8_e5m2,
}


def cast(x, word, dtype, saturate=1):
    """`x` through the definition of Cast."""
    y = np.zeros(x.shape, dtype)
    line = f"op n ai.onnx::Cast@24 in=x out=y to=d:{word} saturate=i:{saturate}"
    return native.run_op(line, [x], [y], kernel="naive")[0]


def codes(dtype):
    """Every number of the type."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return np.arange(2 ** (8 * unsigned.itemsize), dtype=np.uint32).astype(unsigned).view(dtype)


def turning_points(dtype):
    """Every number of the type, each middle between two, the floats beside, and any bits at all."""
    numbers = codes(dtype).astype(np.float32)
    numbers = np.unique(numbers[np.isfinite(numbers)])
    wide = numbers.astype(np.float64)
    above = 2 * wide[-1] - wide[-2]  # the next number, were there one
    with np.errstate(over="ignore"):
        middles = ((wide + np.append(wide[1:], above)) / 2).astype(np.float32)
    middles = np.concatenate([middles, -middles])
    points = np.concatenate([numbers, middles, np.float32([1e38, -1e38, 3e38, -3e38])])
    beside = [np.nextafter(points, np.float32(side)) for side in (-np.inf, np.inf)]
    bits = np.random.default_rng(0).integers(0, 2**32, 1_000_000, dtype=np.uint32)
    special = np.float32([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45, -1e-45])
    return np.concatenate([points, *beside, bits.view(np.float32), special])


@pytest.mark.parametrize("word", DTYPES)
def test_every_code_becomes_its_number(word):
    """All 2^16 or 2^8 codes, NaNs as NaNs, zeros with their signs."""
    x = codes(DTYPES[word])
    got, want = cast(x, "f32", np.float32), x.astype(np.float32)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), ~number)
    assert got[number].tobytes() == want[number].tobytes()


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("word", DTYPES)
def test_floats_are_rounded_to_nearest_even(word, saturate):
    """Bit for bit what numpy and ml_dtypes make of them; of 8 bits, the largest where asked for."""
    dtype, x = DTYPES[word], turning_points(DTYPES[word])
    got = cast(x, word, dtype, saturate)
    given = x
    if saturate and word.startswith("f8"):
        largest = np.float32(ml_dtypes.finfo(dtype).max)
        given = np.clip(x, -largest, largest)
    with np.errstate(over="ignore", invalid="ignore"):
        want = given.astype(dtype)
    number = ~np.isnan(want.astype(np.float32))
    np.testing.assert_array_equal(np.isnan(got.astype(np.float32)), ~number)
    assert got[number].tobytes() == want[number].tobytes()
