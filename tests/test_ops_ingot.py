"""Every op of domain ingot, by every kernel and in every type, against numpy in float64."""

from dataclasses import dataclass, field
from math import erf

import numpy as np
import pytest
from cpu_kernels import BF16, F8, F16, F32, I4, I8, ROUNDING, U4, numbers
from rotary_step import RotaryStep
from test_cpu_attention import OPTIONS, STEPS, step

from core import native

ROWS = {row["name"]: row for row in native.op_table()["ops"] if row["domain"] == "ingot"}
KERNELS = [(op, kernel["name"]) for op in sorted(ROWS) for kernel in ROWS[op]["kernels"]]
FLOATS = [F32, F16, BF16]
WORDS = native.WORDS
SMALLEST = {F32: 1e-37, F16: 2.0**-25, BF16: 1e-37}  # half of the smallest step of the type

# (roundings to the output's type, float32 error as a part of the output's `size` below). The most
# that was seen of the second is about half of it.
TOLERANCES = {
    "TokenLargest": (0, 0),
    "AllReduce": (0, 0),  # of one rank
    "AllGather": (0, 0),
    "Linear": (1, 5e-7),  # size: the sum of the products' magnitudes; one order of float32 sums
    "ScaledLinear": (1, 5e-7),  # the same; two more products
    "GroupedLinear": (1, 5e-7),  # the same; a zero point counts as codes do
    "AddRmsNorm.sum": (1, 0),  # float32 adds exactly, or rounds where f32 is the type
    "AddRmsNorm.y": (2.01, 2e-7),  # quotient and product are rounded; size: y; a sum in 16 parts
    "Gate": (1, 4e-7),  # size: |x up|; an exponential within 3 units, a quotient, a product
    "Rotate": (1, 1e-7),  # size: |a| + |b|; two products and their sum
    "PagedAttention": (1, 1e-6),  # size: the largest |v|; weights of at most 1 that sum to 1
    "RotaryPagedAttention": (1, 1e-6),  # the same, of q and k that are rotated and rounded
}


@dataclass
class Case:
    """A node, its arrays, and what each output that is a float is near: (name, exact, size)."""

    line: str
    inputs: list
    outputs: list
    near: list = field(default_factory=list)

    def run(self, kernel=None, threads=2):
        fresh = [np.full_like(output, 0) for output in self.outputs]
        return native.run_op(self.line, self.inputs, fresh, kernel=kernel, threads=threads)


def wide(array):
    return array.astype(np.float64)


def sizes(rng, *most):
    return [int(rng.integers(1, n + 1)) for n in most]


def linear(rng, dtype):
    T, D, F = sizes(rng, 9, 700, 40)
    x_TD, weight_FD = numbers(rng, (T, D), dtype), numbers(rng, (F, D), dtype)
    bias_F = numbers(rng, (F,), FLOATS[D % 3]) if F % 2 else None
    exact, size = product(x_TD, weight_FD, bias_F)
    line = f"op n ingot::Linear@1 in=x,w,{'-' if bias_F is None else 'b'} out=y"
    outputs = [np.zeros((T, F), dtype)]
    return Case(line, [x_TD, weight_FD, bias_F], outputs, [("Linear", exact, size)])


def product(x_TD, weight_FD, bias_F):
    """x weight^T + bias, and the sum of the magnitudes of its terms."""
    x, weight = wide(x_TD), wide(weight_FD)
    bias = 0 if bias_F is None else wide(bias_F)
    return x @ weight.T + bias, np.abs(x) @ np.abs(weight).T + np.abs(bias)


def scaled_linear(rng, dtype):
    T, D, F = sizes(rng, 9, 700, 40)
    coded = D % 2
    x_TD = numbers(rng, (T, D), [F8, I8][T % 2] if coded else dtype)
    weight_FD = numbers(rng, (F, D), [F8, I8][F % 2])
    x_scale_T = rng.uniform(1e-3, 1e-2, T).astype(F32) if coded else None
    scale = np.array(rng.uniform(1e-4, 1e-3, (F,) if T % 3 else ()), F32)
    bias_F = numbers(rng, (F,), dtype) if F % 3 else None
    x = wide(x_TD) * (wide(x_scale_T)[:, None] if coded else 1)
    exact, size = product(x, wide(weight_FD) * wide(scale).reshape(-1, 1), bias_F)
    names = f"x,{'a' if coded else '-'},w,s,{'-' if bias_F is None else 'b'}"
    line = f"op n ingot::ScaledLinear@1 in={names} out=y dtype=d:{WORDS[dtype]}"
    inputs = [x_TD, x_scale_T, weight_FD, scale, bias_F]
    return Case(line, inputs, [np.zeros((T, F), dtype)], [("ScaledLinear", exact, size)])


def grouped_linear(rng, dtype):
    [T, N, F], group = sizes(rng, 9, 6, 40), 2 * int(rng.integers(1, 70))
    codes, D = [I4, U4, I8][int(rng.integers(3))], N * group
    x_TD, codes_FD = numbers(rng, (T, D), dtype), numbers(rng, (F, D), codes)
    scale_FN = rng.uniform(1e-3, 1e-2, (F, N)).astype(FLOATS[F % 3])
    zero_FN = numbers(rng, (F, N), codes).astype(I8) if F % 2 else None
    bias_F = numbers(rng, (F,), dtype) if F % 3 else None
    zero = 0 if zero_FN is None else np.repeat(wide(zero_FN), group, 1)
    scale = np.repeat(wide(scale_FN), group, 1)
    exact, _ = product(x_TD, (wide(codes_FD) - zero) * scale, bias_F)
    _, size = product(x_TD, (np.abs(wide(codes_FD)) + np.abs(zero)) * scale, bias_F)
    names = f"x,c,s,{'-' if zero_FN is None else 'z'},{'-' if bias_F is None else 'b'}"
    line = f"op n ingot::GroupedLinear@1 in={names} out=y"
    inputs = [x_TD, codes_FD, scale_FN, zero_FN, bias_F]
    return Case(line, inputs, [np.zeros((T, F), dtype)], [("GroupedLinear", exact, size)])


def quantize_token(rng, dtype):
    T, D = sizes(rng, 9, 1400)
    codes = [F8, I8][T % 2]
    x_TD = numbers(rng, (T, D), dtype, 10.0 ** rng.integers(-3, 4))
    line = f"op n ingot::QuantizeToken@1 in=x out=c,s dtype=d:{WORDS[codes]}"
    return Case(line, [x_TD], [np.zeros((T, D), codes), np.zeros(T, F32)])


def add_rms_norm(rng, dtype):
    T, D = sizes(rng, 9, 1400)
    x_TD, residual_TD, weight_D = (numbers(rng, s, dtype, 3) for s in [(T, D), (T, D), (D,)])
    total = wide(x_TD) + wide(residual_TD)
    held = total.astype(F32).astype(dtype)  # what is normalized is rounded
    y = wide(held) / np.sqrt((wide(held) ** 2).mean(-1, keepdims=True) + 1e-3) * wide(weight_D)
    line = "op n ingot::AddRmsNorm@1 in=x,r,w out=s,y epsilon=f:1e-3"
    near = [("AddRmsNorm.sum", total, 0), ("AddRmsNorm.y", y, np.abs(y))]
    return Case(line, [x_TD, residual_TD, weight_D], [np.zeros((T, D), dtype)] * 2, near)


def rms_norm_quantize(rng, dtype):
    T, D = sizes(rng, 9, 1400)
    x_TD, weight_D = numbers(rng, (T, D), dtype), numbers(rng, (D,), dtype)
    line = f"op n ingot::RmsNormQuantize@1 in=x,w out=c,s dtype=d:{['f8e4m3', 'i8'][D % 2]}"
    return Case(line, [x_TD, weight_D], [np.zeros((T, D), [F8, I8][D % 2]), np.zeros(T, F32)])


def add_rms_norm_quantize(rng, dtype):
    case = add_rms_norm(rng, dtype)
    sum_TD, _ = case.outputs
    case.line = "op n ingot::AddRmsNormQuantize@1 in=x,r,w out=s,c,q epsilon=f:1e-3"
    case.outputs = [sum_TD, np.zeros(sum_TD.shape, F8), np.zeros(len(sum_TD), F32)]
    case.near = case.near[:1]
    return case


ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
}


def gate(rng, dtype, activation=None):
    T, F = sizes(rng, 9, 1400)
    activation = activation or list(ACTIVATIONS)[T % 4]
    gate_up_TE = numbers(rng, (T, 2 * F), dtype, 4)
    x, up = np.split(wide(gate_up_TE), 2, axis=1)
    line = f"op n ingot::Gate@1 in=x out=y activation=s:{activation}"
    near = [("Gate", ACTIVATIONS[activation](x) * up, np.abs(x * up))]
    return Case(line, [gate_up_TE], [np.zeros((T, F), dtype)], near)


def gate_quantize(rng, dtype):
    case = gate(rng, dtype)
    [y_TF] = case.outputs
    case.line = case.line.replace("Gate@1", "GateQuantize@1").replace("out=y", "out=c,s")
    case.outputs, case.near = [np.zeros(y_TF.shape, F8), np.zeros(len(y_TF), F32)], []
    return case


def rotate(rng, dtype):
    T, H, L = sizes(rng, 9, 5, 40)
    K, interleaved = 2 * int(rng.integers(1, 300)), int(rng.integers(0, 2))
    dims = int(rng.choice([0, K, 2 * rng.integers(1, K // 2 + 1)]))
    R = (dims or K) // 2
    angle_LR = rng.uniform(-4, 4, (L, R))
    cos_LR, sin_LR = np.cos(angle_LR).astype(F32), np.sin(angle_LR).astype(F32)
    x_TD, positions_T = numbers(rng, (T, H * K), dtype), rng.integers(0, L, T).astype(np.int32)
    turned = wide(x_TD).reshape(T, H, K).copy()
    size = np.zeros_like(turned)
    first, second = (
        (slice(0, 2 * R, 2), slice(1, 2 * R, 2)) if interleaved else (slice(0, R), slice(R, 2 * R))
    )
    a, b = turned[..., first].copy(), turned[..., second].copy()
    cos, sin = (wide(table[positions_T])[:, None] for table in (cos_LR, sin_LR))
    turned[..., first], turned[..., second] = cos * a - sin * b, sin * a + cos * b
    size[..., first] = size[..., second] = np.abs(a) + np.abs(b)
    line = (
        "op n ingot::Rotate@1 in=x,c,s,p out=y"
        f" heads=i:{H} interleaved=i:{interleaved} dims=i:{dims}"
    )
    near = [("Rotate", turned.reshape(T, -1), size.reshape(T, -1))]
    return Case(line, [x_TD, cos_LR, sin_LR, positions_T], [np.zeros_like(x_TD)], near)


class AttentionCase:
    """A step of paged attention; the caches are its own, some in e4m3, some with scales."""

    def __init__(self, rng, dtype):
        names = list(STEPS)[int(rng.integers(len(STEPS)))], list(OPTIONS)[int(rng.integers(6))]
        scales = (0.1, 3.0) if rng.integers(2) else None
        self.world = step(*names, dtype, codes=bool(rng.integers(2)), scales=scales)
        self.near = [("PagedAttention", *self.world.exact())]

    def run(self, kernel=None, threads=2):
        return self.world.run(kernel, threads=threads)


class RotaryAttentionCase:
    """The same, where q and k are yet to be rotated."""

    def __init__(self, rng, dtype):
        shape = dict(STEPS[str(rng.choice(["decode", "prefill", "mixed", "large heads"]))])
        K = shape["size"]
        dims = int(rng.choice([0, K, 2 * rng.integers(1, K // 2 + 1)]))
        self.world = RotaryStep(
            int(rng.integers(99)), dtype=dtype, **shape, codes=bool(rng.integers(2)), dims=dims,
            interleaved=int(rng.integers(2)), scales=(0.1, 3.0) if rng.integers(2) else None,
        )  # fmt: skip
        self.near = [("RotaryPagedAttention", *self.world.exact())]

    def run(self, kernel=None, threads=2):
        return self.world.run(kernel, threads=threads)


def token_largest(rng, dtype):
    x_TD = numbers(rng, sizes(rng, 9, 3000), dtype)
    exact = np.abs(wide(x_TD)).max(axis=1)
    line = "op n ingot::TokenLargest@1 in=x out=y"
    return Case(line, [x_TD], [np.zeros(len(x_TD), F32)], [("TokenLargest", exact, 0)])


def all_reduce(rng, dtype):
    """With one rank, x itself; several meet in tests/cpp/test_thread_comm.cc."""
    x = numbers(rng, sizes(rng, 9, 700)[: 1 + int(rng.integers(2))], dtype)
    line = f"op n ingot::AllReduce@1 in=x out=y op=s:{rng.choice(['sum', 'max'])}"
    return Case(line, [x], [np.zeros_like(x)], [("AllReduce", wide(x), 0)])


def all_gather(rng, dtype):
    x_TV = numbers(rng, sizes(rng, 9, 700), dtype)
    line = f"op n ingot::AllGather@1 in=x out=y axis=i:{rng.integers(2)} ranks=i:1"
    return Case(line, [x_TV], [np.zeros_like(x_TV)], [("AllGather", wide(x_TV), 0)])


CASES = {
    "TokenLargest": token_largest,
    "AllReduce": all_reduce,
    "AllGather": all_gather,
    "Linear": linear,
    "ScaledLinear": scaled_linear,
    "GroupedLinear": grouped_linear,
    "QuantizeToken": quantize_token,
    "AddRmsNorm": add_rms_norm,
    "RmsNormQuantize": rms_norm_quantize,
    "AddRmsNormQuantize": add_rms_norm_quantize,
    "Gate": gate,
    "GateQuantize": gate_quantize,
    "Rotate": rotate,
    "PagedAttention": AttentionCase,
    "RotaryPagedAttention": RotaryAttentionCase,
}
ATTENTION = ("PagedAttention", "RotaryPagedAttention")


def check_near(outputs, near):
    for output, (name, exact, size) in zip(outputs, near, strict=False):
        roundings, part = TOLERANCES[name]
        bound = roundings * 1.001 * ROUNDING[output.dtype] * np.abs(exact) + part * size
        error = np.abs(wide(output) - exact)
        assert np.all(error <= bound + SMALLEST[output.dtype]), (name, np.max(error - bound))


def run(case, kernel, threads=2):
    """The outputs; the test is skipped where this machine cannot run the kernel."""
    try:
        return case.run(kernel, threads)
    except ValueError as error:
        if "does not have the instructions" not in str(error):
            raise
        pytest.skip(f"{kernel}: {error}")


def test_every_row_has_a_case():
    """No op of our own goes untested, and each has its definition last."""
    assert set(CASES) == set(ROWS)
    for row in ROWS.values():
        assert row["kernels"][-1]["name"] == "naive"
        assert [k["name"] for k in row["kernels"] if "reference" in k["flags"]] == ["naive"]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", KERNELS)
def test_op_computes_its_formula(op, kernel, dtype):
    """Each float output is the formula in float64 up to its roundings, for sizes drawn anew."""
    for seed in range(5 if op in ATTENTION else 12):
        case = CASES[op](np.random.default_rng(seed), dtype)
        check_near(run(case, kernel), case.near)


LOOPS = [pair for pair in KERNELS if "Linear" not in pair[0] and pair[0] not in ATTENTION]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op, kernel", LOOPS)
def test_instructions_change_nothing(op, kernel, dtype):
    """Ops that go once over a row give the same bits on every machine."""
    for seed in range(4):
        case = CASES[op](np.random.default_rng(seed), dtype)
        for one, other in zip(run(case, kernel), case.run("naive"), strict=True):
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", [op for op in CASES if op not in (*ATTENTION, "AllReduce")])
def test_a_token_does_not_feel_its_neighbours(op, dtype):
    """By its definition, each token alone gets what it gets among others, whatever the threads."""
    case = CASES[op](np.random.default_rng(1), dtype)
    whole = case.run("naive", threads=2)
    T = len(whole[0])
    arguments = ROWS[op]["inputs"]
    for t in range(T):
        inputs = [
            array[t : t + 1] if array is not None and argument["shape"].startswith("T") else array
            for array, argument in zip(case.inputs, arguments, strict=False)
        ]
        outputs = [output[t : t + 1] for output in case.outputs]
        alone = Case(case.line, inputs, outputs).run("naive", threads=1)
        for one, many in zip(alone, whole, strict=True):
            assert one.tobytes() == many[t : t + 1].tobytes()
