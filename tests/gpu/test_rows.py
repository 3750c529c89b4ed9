"""Ops of Ingot's own that go over rows, on CUDA: against their formulas, and the CPU's bits."""

import numpy as np
import pytest
import test_ops_ingot as table
from cpu_kernels import BF16, F8, F16, F32, I8, ROUNDING, numbers

from core import native

pytestmark = pytest.mark.gpu

FLOATS = [F32, F16, BF16]
# Rows by width: odd ones, Llama's, and such as no block holds in registers.
SHAPES = [
    (1, 1), (3, 7), (0, 64), (257, 64), (64, 100), (3, 256), (257, 704), (5, 1032), (1, 4096),
    (64, 4096), (3, 4100), (3, 11008), (1, 11008), (64, 16384), (2, 16392), (1, 28672), (2, 40000),
]  # fmt: skip
# A sum of squares in another order than the definition's: of 40000 squares, 150 of them one after
# another. The most that was to be expected of it beside the roundings, as a part of y.
SUM_OF_SQUARES = 5e-7


def kernels(*ops):
    names = {"Gate": ("vectors", "loops"), "Rotate": ("vectors", "pairs")}
    return [(op, kernel) for op in ops for kernel in names.get(op, ("registers", "loops"))]


def drawn(op, rng, dtype, T, D):
    """A case of tests/test_ops_ingot.py with T tokens of width D."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "sizes", lambda rng, *most: [T, D, 50][: len(most)])
        return table.CASES[op](rng, dtype)


def run(case, kernel=None, device="cuda"):
    fresh = [np.zeros_like(output) for output in case.outputs]
    return native.run_op(case.line, case.inputs, fresh, kernel=kernel, device=device)


def bits(array):
    """As unsigned integers; every NaN is the same one."""
    kind = {1: np.uint8, 2: np.uint16, 4: np.uint32}[array.dtype.itemsize]
    nan = np.isnan(array.astype(np.float32))
    return np.where(nan, kind(0x7F), array.view(kind))


def same(found, wanted, what):
    """Equal bits, or a failure that says where they are not."""
    wrong = bits(found) != bits(wanted)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        pytest.fail(
            f"{what}: {found.shape} {found.dtype}, {wrong.sum()} of {wrong.size} differ, the first "
            f"at {first}: {found[first]}, not {wanted[first]}",
            pytrace=False,
        )


def near(found, exact, bound, what):
    error = np.abs(table.wide(found) - exact)
    wrong = ~(error <= bound + table.SMALLEST[found.dtype])
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        with np.errstate(all="ignore"):
            worst = np.nanmax(error / (bound + table.SMALLEST[found.dtype]))
        pytest.fail(
            f"{what}: {found.shape} {found.dtype}, {wrong.sum()} of {wrong.size} are wrong, "
            f"{np.isnan(table.wide(found)).sum()} NaN, the first at {first}: {found[first]}, not "
            f"{exact[first]}; the largest error is {worst:.3g} of its bound",
            pytrace=False,
        )


def seed_of(T, D):
    return np.random.default_rng(1000 * T + D)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", kernels("AddRmsNorm"))
def test_add_rms_norm(op, kernel, dtype):
    """The sum has the CPU's bits, y is the formula up to its two roundings."""
    for T, D in SHAPES:
        case = drawn(op, seed_of(T, D), dtype, T, D)
        sum_TD, y_TD = run(case, kernel)
        same(sum_TD, run(case, device="cpu")[0], f"sum of {T} x {D}")
        [_, (_, exact, size)] = case.near
        bound = 2.01 * ROUNDING[dtype] * np.abs(exact) + SUM_OF_SQUARES * size
        bound += table.SMALLEST[dtype] * np.abs(table.wide(case.inputs[2]))  # of a small quotient
        near(y_TD, exact, bound, f"y of {T} x {D}")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("kernel", ["registers", "loops"])
def test_rms_normalization_is_add_rms_norm_s(kernel, dtype):
    """RMSNormalization of the sum has the bits of AddRmsNorm's y; also where it works in place."""
    for T, D in SHAPES:
        case = drawn("AddRmsNorm", seed_of(T, D), dtype, T, D)
        sum_TD, wanted = run(case, kernel)
        line, weight_D = "op n ::RMSNormalization in=x,w out=y epsilon=f:1e-3", case.inputs[2]
        for y_TD in (np.zeros_like(sum_TD), sum_TD):
            inputs = [sum_TD, weight_D]
            [found] = native.run_op(line, inputs, [y_TD], kernel=kernel, device="cuda")
            same(found, wanted, f"{T} x {D}")


def quantized(y_TD, codes_dtype):
    """By the CPU's definition."""
    line = f"op n ingot::QuantizeToken in=x out=c,s dtype=d:{native.WORDS[codes_dtype]}"
    outputs = [np.zeros(y_TD.shape, codes_dtype), np.zeros(len(y_TD), F32)]
    return native.run_op(line, [y_TD], outputs)


def with_codes(case, codes):
    """The case with codes of that type."""
    line = case.line.split(" dtype=")[0] + f" dtype=d:{native.WORDS[codes]}"
    outputs = [np.zeros(o.shape, codes if o.dtype in (F8, I8) else o.dtype) for o in case.outputs]
    return table.Case(line, case.inputs, outputs)


@pytest.mark.parametrize("codes", [F8, I8], ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", kernels("RmsNormQuantize", "AddRmsNormQuantize"))
def test_norm_with_codes_is_both_ops(op, kernel, dtype, codes):
    """Codes and scales are those of the norm that this device makes, bit for bit."""
    for T, D in SHAPES:
        case = with_codes(drawn(op, seed_of(T, D), dtype, T, D), codes)
        *sums, codes_TD, scale_T = run(case, kernel)
        if sums:
            norm = table.Case(
                case.line.replace("Quantize@1", "@1").split(" dtype=")[0], case.inputs, []
            )
            norm.line = norm.line.replace("out=s,c,q", "out=s,y")
            norm.outputs = [sums[0], sums[0]]
            sum_TD, y_TD = run(norm, kernel)
            same(sums[0], sum_TD, f"sum of {T} x {D}")
        else:
            line = "op n ::RMSNormalization in=x,w out=y"
            y_TD = np.zeros_like(case.inputs[0])
            [y_TD] = native.run_op(line, case.inputs, [y_TD], kernel=kernel, device="cuda")
        wanted_TD, wanted_T = quantized(y_TD, codes)
        same(scale_T, wanted_T, f"scales of {T} x {D}")
        same(codes_TD, wanted_TD, f"codes of {T} x {D}")


@pytest.mark.parametrize("codes", [F8, I8], ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", kernels("QuantizeToken"))
def test_quantize_token_is_the_definition(op, kernel, dtype, codes):
    """Bit for bit, with a largest magnitude given or without."""
    for T, D in SHAPES:
        case = with_codes(drawn(op, seed_of(T, D), dtype, T, D), codes)
        for found, wanted in zip(run(case, kernel), run(case, device="cpu"), strict=True):
            same(found, wanted, f"{T} x {D}")
        x_TD = case.inputs[0]
        largest_T = np.abs(table.wide(x_TD)).max(1, initial=0).astype(F32) * F32.type(1.7)
        given = table.Case(case.line.replace("in=x", "in=x,l"), [x_TD, largest_T], case.outputs)
        for found, wanted in zip(run(given, kernel), run(given, device="cpu"), strict=True):
            same(found, wanted, f"{T} x {D}, largest given")


@pytest.mark.parametrize("codes", [F8, I8], ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", kernels("QuantizeToken"))
def test_quantize_token_of_odd_rows(op, kernel, dtype, codes):
    """Zeros of both signs, the smallest numbers, the largest, infinities and NaN."""
    x_TD = numbers(np.random.default_rng(3), (9, 256), dtype)
    x_TD[0] = 0
    x_TD[1] = -0.0
    x_TD[2] = np.finfo(np.float16).smallest_subnormal
    x_TD[3] *= dtype.type(1e-7)
    x_TD[4, 9] = 3e4
    x_TD[5, 9] = -np.inf
    x_TD[6, [3, 200]] = np.nan, np.inf
    x_TD[7] = np.where(np.arange(256) % 2, 448, -1.5)  # ties
    x_TD[8] = np.arange(256) - 128 + 0.5
    line = f"op n ingot::QuantizeToken in=x out=c,s dtype=d:{native.WORDS[codes]}"
    case = table.Case(line, [x_TD], [np.zeros(x_TD.shape, codes), np.zeros(9, F32)])
    for found, wanted in zip(run(case, kernel), run(case, device="cpu"), strict=True):
        same(found, wanted, "rows of odd numbers")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", kernels("TokenLargest"))
def test_token_largest(op, kernel, dtype):
    for T, D in SHAPES:
        case = drawn(op, seed_of(T, D), dtype, T, D) if T else None
        if case:
            same(run(case, kernel)[0], run(case, device="cpu")[0], f"{T} x {D}")


@pytest.mark.parametrize("activation", table.ACTIVATIONS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", kernels("Gate"))
def test_gate(op, kernel, dtype, activation):
    """The formula up to one rounding and the error of an exponential and a quotient."""
    for T, F in SHAPES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(table, "sizes", lambda rng, *most, T=T, F=F: [T, F])
            if T == 0:
                patch.setitem(
                    table.ACTIVATIONS, "gelu", lambda x: x
                )  # vectorize takes no empty ones
            case = table.gate(seed_of(T, F), dtype, activation)
        [(_, exact, size)] = case.near
        bound = 1.001 * ROUNDING[dtype] * np.abs(exact) + 4e-7 * size
        near(run(case, kernel)[0], exact, bound, f"{activation} of {T} x {F}")


@pytest.mark.parametrize("codes", [F8, I8], ids=str)
@pytest.mark.parametrize("activation", table.ACTIVATIONS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "kernel, plain", [("registers", "vectors"), ("loops", "loops")], ids=lambda x: x
)
def test_gate_with_codes_is_both_ops(kernel, plain, dtype, activation, codes):
    """Codes and scales are those of the gated numbers that this device makes, bit for bit."""
    for T, F in SHAPES[:: 1 if activation == "silu" else 4]:
        gate_up_TE = numbers(seed_of(T, F), (T, 2 * F), dtype, 4)
        line = f"op n ingot::Gate in=x out=y activation=s:{activation}"
        y_TF = np.zeros((T, F), dtype)
        [y_TF] = native.run_op(line, [gate_up_TE], [y_TF], kernel=plain, device="cuda")
        line = line.replace("Gate", "GateQuantize").replace("=y", "=c,s")
        line += f" dtype=d:{native.WORDS[codes]}"
        case = table.Case(line, [gate_up_TE], [np.zeros((T, F), codes), np.zeros(T, F32)])
        wanted = quantized(y_TF, codes)
        for found, want, what in zip(run(case, kernel), wanted, ("codes", "scales"), strict=True):
            same(found, want, f"{what} of {activation} of {T} x {F}")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", kernels("Rotate"))
def test_rotate_has_the_bits_of_the_cpu(op, kernel, dtype):
    """Of whole heads and of their first elements, pairs apart and neighbours, also in place."""
    rng = np.random.default_rng(7)
    for T, H, K, dims in [
        (1, 32, 128, 0), (3, 5, 64, 0), (257, 8, 128, 0), (64, 4, 256, 64), (5, 3, 80, 32),
        (0, 2, 64, 0), (9, 3, 34, 0), (9, 3, 34, 6), (2100, 32, 128, 0), (70000, 1, 16, 0),
    ]:  # fmt: skip
        angle_LR = rng.uniform(-4, 4, (300, (dims or K) // 2))
        tables = [np.cos(angle_LR).astype(F32), np.sin(angle_LR).astype(F32)]
        positions_T = rng.integers(0, 300, T).astype(np.int32)
        x_TD = numbers(rng, (T, H * K), dtype)
        for interleaved in (0, 1):
            line = (
                "op n ingot::Rotate in=x,c,s,p out=y"
                f" heads=i:{H} interleaved=i:{interleaved} dims=i:{dims}"
            )
            inputs = [x_TD, *tables, positions_T]
            [wanted] = native.run_op(line, inputs, [np.zeros_like(x_TD)])
            held = x_TD.copy()
            for x, y in ((x_TD, np.zeros_like(x_TD)), (held, held)):
                [found] = native.run_op(
                    line, [x, *tables, positions_T], [y], kernel=kernel, device="cuda"
                )
                same(found, wanted, f"{T} x {H} x {K}, dims {dims}, interleaved {interleaved}")


TOKEN_OPS = [op for op in table.CASES if op in (
    "QuantizeToken", "AddRmsNorm", "RmsNormQuantize", "AddRmsNormQuantize", "Gate", "GateQuantize",
    "TokenLargest",
)]  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", kernels(*TOKEN_OPS))
def test_a_token_does_not_feel_its_neighbours(op, kernel, dtype):
    """It alone has the bits that it has among others."""
    arguments = table.ROWS[op]["inputs"]
    for T, D in [(257, 64), (66, 1000), (300, 4096), (9, 11008)]:
        case = drawn(op, seed_of(T, D), dtype, T, D)
        whole = run(case, kernel)
        for t in (0, 1, T // 2, T - 1):
            inputs = [
                array[t : t + 1] if argument["shape"].startswith("T") else array
                for array, argument in zip(case.inputs, arguments, strict=False)
            ]
            alone = run(table.Case(case.line, inputs, [o[t : t + 1] for o in case.outputs]), kernel)
            for one, many in zip(alone, whole, strict=True):
                same(one, many[t : t + 1], f"token {t} of {T} x {D}")
