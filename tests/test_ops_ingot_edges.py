"""Ops of domain ingot: what fused ones are made of, numbers at the edges, and what is refused."""

import numpy as np
import pytest
from cpu_kernels import BF16, F8, F16, F32, I4, I8, numbers

from core import native

FLOATS = [F32, F16, BF16]
CODES = [F8, I8]
SHAPES = [(1, 1), (3, 17), (5, 256), (2, 1500)]
every_float = pytest.mark.parametrize("dtype", FLOATS, ids=str)
every_code = pytest.mark.parametrize("codes", CODES, ids=str)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def call(op, inputs, outputs, **attributes):
    """The outputs of op for these inputs; outputs are given as (shape, dtype)."""
    names = ",".join("-" if array is None else f"i{i}" for i, array in enumerate(inputs))
    results = ",".join(f"o{i}" for i in range(len(outputs)))
    written = "".join(
        f" {key}={written_attribute(key, value)}" for key, value in attributes.items()
    )
    line = f"op n {op}@1 in={names} out={results}{written}"
    return native.run_op(line, inputs, [np.zeros(*output) for output in outputs])


def written_attribute(key, value):
    if key == "dtype":
        return f"d:{native.WORDS[value]}"
    return f"{ {int: 'i', float: 'f', str: 's'}[type(value)] }:{value}"


def same(ones, others):
    for one, other in zip(ones, others, strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


def add(x, y):
    return call("ai.onnx::Add", [x, y], [(x.shape, x.dtype)])[0]


def norm(x, weight):
    return call("ai.onnx::RMSNormalization", [x, weight], [(x.shape, x.dtype)], epsilon=1e-6)[0]


def quantize(x, codes):
    outputs = [(x.shape, codes), (x.shape[:1], F32)]
    return call("ingot::QuantizeToken", [x], outputs, dtype=codes)


@every_float
@every_shape
def test_add_rms_norm_is_add_and_norm(dtype, shape):
    """AddRmsNorm gives the bits of Add and RMSNormalization."""
    rng = np.random.default_rng(shape[1])
    x, residual, weight = (numbers(rng, s, dtype, 3) for s in (shape, shape, shape[1:]))
    outputs = [(shape, dtype)] * 2
    fused = call("ingot::AddRmsNorm", [x, residual, weight], outputs, epsilon=1e-6)
    total = add(x, residual)
    same(fused, [total, norm(total, weight)])


@every_float
@every_code
@every_shape
def test_norms_quantize_what_they_would_have_given(dtype, codes, shape):
    """RmsNormQuantize and AddRmsNormQuantize give the bits of their parts, one after the other."""
    rng = np.random.default_rng(shape[1])
    x, residual, weight = (numbers(rng, s, dtype, 3) for s in (shape, shape, shape[1:]))
    quantized = [(shape, codes), (shape[:1], F32)]
    given = {"epsilon": 1e-6, "dtype": codes}
    fused = call("ingot::RmsNormQuantize", [x, weight], quantized, **given)
    same(fused, quantize(norm(x, weight), codes))
    outputs = [(shape, dtype), *quantized]
    fused = call("ingot::AddRmsNormQuantize", [x, residual, weight], outputs, **given)
    total = add(x, residual)
    same(fused, [total, *quantize(norm(total, weight), codes)])


@every_float
@every_code
@every_shape
@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "relu"])
def test_gate_quantizes_what_it_would_have_given(activation, dtype, codes, shape):
    """GateQuantize gives the bits of Gate and QuantizeToken."""
    T, F = shape
    gate_up = numbers(np.random.default_rng(F), (T, 2 * F), dtype, 3)
    [gated] = call("ingot::Gate", [gate_up], [(shape, dtype)], activation=activation)
    outputs = [(shape, codes), ((T,), F32)]
    fused = call("ingot::GateQuantize", [gate_up], outputs, activation=activation, dtype=codes)
    same(fused, quantize(gated, codes))


def quantized_by_numpy(x_TD, codes):
    """QuantizeToken in float32, with the roundings of numpy and ml_dtypes."""
    x = x_TD.astype(F32)
    with np.errstate(invalid="ignore"):
        scale_T = np.abs(x).max(-1) / F32.type(127 if codes == I8 else 448)
        scale_T = np.maximum(scale_T, F32.type(1e-12))
        values = x / scale_T[:, None]
    return (np.rint(values) if codes == I8 else values).astype(codes), scale_T


@every_float
@every_code
@every_shape
def test_tokens_are_quantized_as_numpy_does(dtype, codes, shape):
    """Codes and scales are those of a division in float32, rounded to the nearest even."""
    for power in (-12, -4, 0, 3):
        x = numbers(np.random.default_rng(power + 12), shape, F32, 10.0**power).astype(dtype)
        same(quantize(x, codes), quantized_by_numpy(x, codes))


@every_code
def test_every_tie_goes_to_the_even_code(codes):
    """Numbers half way between two codes, and beside them, at a scale of 1 and of others."""
    largest = 127 if codes == I8 else 448
    whole = np.arange(-127, 128) if codes == I8 else np.unique(all_codes().astype(F32))
    middles = (whole[1:] + whole[:-1]).astype(F32) / 2
    around = [np.nextafter(middles, F32.type(side * np.inf)) for side in (-1, 1)]
    row = np.concatenate([[largest], whole, middles, *around]).astype(F32)
    x = np.stack([row, row * 2, -row, row * F32.type(0.37)])
    same(quantize(x, codes), quantized_by_numpy(x, codes))


def all_codes():
    codes = np.arange(256, dtype=np.uint8).view(F8)
    return codes[np.isfinite(codes.astype(F32))]


def test_every_half_is_read_and_written_right():
    """Every f16 number, and those between f32 numbers that round to them, as numpy rounds."""
    halves = np.arange(65536, dtype=np.uint16).view(F16)
    halves = halves[np.isfinite(halves)].reshape(1, -1)
    same(quantize(halves, F8), quantized_by_numpy(halves, F8))
    zero = np.zeros_like(halves)
    width = halves.shape[1]
    outputs = [(halves.shape, F16)] * 2
    for other in (zero, halves[:, ::-1].copy(), np.full_like(halves, 3e-7)):
        inputs = [halves, other, np.ones(width, F16)]
        total, _ = call("ingot::AddRmsNorm", inputs, outputs)
        with np.errstate(over="ignore"):
            same([total], [(halves.astype(F32) + other.astype(F32)).astype(F16)])


@every_code
def test_zeros_have_the_smallest_scale(codes):
    """A token of zeros has scale 1e-12 and codes of zero, with signs where codes have them."""
    values, scale = quantize(np.array([[0.0, -0.0, 0.0]], F32), codes)
    assert scale[0] == F32.type(1e-12)
    assert values.view(np.uint8).tolist() == [[0, 0x80 if codes == F8 else 0, 0]]


@every_code
def test_nan_and_infinity_spoil_their_token_only(codes):
    """The scale says so; f8e4m3 codes are NaN where the quotient is, i8 codes 0."""
    x = np.array([[1, np.nan, -2], [3, np.inf, -3], [4, 1, -2], [3e38, -3e38, 0]], F32)
    values, scale = quantize(x, codes)
    assert np.isnan(scale[0]) and np.isinf(scale[1]) and np.all(np.isfinite(scale[2:]))
    spoiled = [[True] * 3, [False, True, False], [False] * 3, [False] * 3]
    if codes == F8:
        assert np.isnan(values.astype(F32)).tolist() == spoiled
    else:
        assert np.all(values[np.array(spoiled)] == 0)
    same([values[2:], scale[2:]], quantized_by_numpy(x[2:], codes))


@every_float
@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "relu"])
def test_gate_at_the_edges(activation, dtype):
    """Far left is 0, far right the number itself; NaN stays NaN."""
    large = 6e4 if dtype == F16 else 1e38
    x = np.array([[-large, -200, 0, 200, large, np.nan, 1] + [1] * 6 + [np.nan]], dtype)
    [y] = call("ingot::Gate", [x], [((1, 7), dtype)], activation=activation)
    expected = np.array([0, 0, 0, 200, large, np.nan, np.nan], dtype)
    np.testing.assert_array_equal(y[0].astype(F32), expected.astype(F32))


@every_float
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("K, dims", [(2, 0), (64, 0), (80, 32), (80, 2), (1400, 1200)])
def test_rotate_may_work_in_place(dtype, interleaved, K, dims):
    """The output may take over the input's memory; elements beyond dims stay as they are."""
    rng = np.random.default_rng(K)
    R = (dims or K) // 2
    angle = rng.uniform(-3, 3, (7, R))
    tables = [np.cos(angle).astype(F32), np.sin(angle).astype(F32)]
    x, positions = numbers(rng, (4, 3 * K), dtype), np.array([6, 0, 3, 3], np.int32)
    given = dict(heads=3, interleaved=interleaved, dims=dims)
    apart = call("ingot::Rotate", [x, *tables, positions], [(x.shape, dtype)], **given)
    line = "op n ingot::Rotate@1 in=x,c,s,p out=x"
    line += "".join(f" {key}=i:{value}" for key, value in given.items())
    held = x.copy()
    same(apart, native.run_op(line, [held, *tables, positions], [held]))
    rest = [array.reshape(4, 3, K)[..., 2 * R :] for array in (apart[0], x)]
    assert rest[0].tobytes() == rest[1].tobytes()


def f32(*shape):
    return np.zeros(shape, F32)


def i32(*numbers):
    return np.array(numbers, np.int32)


ROTATE = "ingot::Rotate"
TABLES = [f32(8, 4), f32(8, 4), i32(0, 0)]
ATTENTION = "ingot::PagedAttention"
STEP = [f32(3, 2, 4, 8), f32(3, 2, 4, 8), np.ones((1, 2), np.int32), i32(4), i32(0), i32(0)]
PER_HEAD = [f32(4), f32(4)]
QKV = [f32(1, 32), f32(1, 16), f32(1, 16)]
GIVEN = dict(heads=4, groups=2, scale=1.0)
REFUSALS = {
    "two types": ("ingot::Linear", [f32(1, 4), np.zeros((3, 4), BF16)], {}, "weight is bf16"),
    "two widths": ("ingot::Linear", [f32(1, 4), f32(3, 5)], {}, r"weight is \[3,5\].*D is 4"),
    "bias": ("ingot::Linear", [f32(1, 4), f32(3, 4), f32(4)], {}, r"bias is \[4\]"),
    "integers": ("ingot::QuantizeToken", [i32(1, 2).reshape(1, 2)], {}, "x is i32, the row takes"),
    "codes": ("ingot::QuantizeToken", [f32(1, 4)], {"dtype": BF16}, "dtype is bf16; codes are"),
    "scales": (
        "ingot::ScaledLinear", [f32(2, 4), None, np.zeros((3, 4), I8), f32(2)], {"dtype": F32},
        "scale has rank 1 and 2 elements; it is a scalar or has one for each of the 3 rows",
    ),
    "result": (
        "ingot::ScaledLinear", [f32(2, 4), None, np.zeros((3, 4), I8), f32()], {"dtype": I8},
        "dtype is i8; y is f32, f16 or bf16",
    ),
    "no dtype": (
        "ingot::ScaledLinear", [f32(2, 4), None, np.zeros((3, 4), I8), f32()], {},
        "needs the attribute dtype",
    ),
    "unequal groups": (
        "ingot::GroupedLinear", [f32(2, 6), np.zeros((3, 6), I8), f32(3, 4)], {},
        "4 scales of a row do not share its 6 codes equally",
    ),
    "half a byte": (
        "ingot::GroupedLinear", [f32(2, 5), np.zeros((3, 5), I4), f32(3, 1)], {},
        "a row of 5 codes of 4 bits does not end with a byte",
    ),
    "zero points": (
        "ingot::GroupedLinear", [f32(2, 6), np.zeros((3, 6), I8), f32(3, 2), np.zeros((3, 3), I8)],
        {}, r"zero is \[3,3\].*N is 2",
    ),
    "activation": ("ingot::Gate", [f32(1, 4)], {"activation": "swish"}, "'swish'; it may be silu"),
    "halves": ("ingot::Gate", [f32(1, 5)], {"activation": "silu"}, "5 wide; it has two halves"),
    "norm": ("ingot::AddRmsNorm", [f32(1, 4), f32(2, 4), f32(4)], {}, r"residual is \[2,4\]"),
    "heads": (ROTATE, [f32(2, 20), *TABLES], {"heads": 3}, "20 wide, which 3 heads do not share"),
    "odd": (ROTATE, [f32(2, 18), *TABLES], {"heads": 2}, "9 elements of a head .* even number"),
    "dims": (ROTATE, [f32(2, 16), *TABLES], {"heads": 2, "dims": 10}, "up to the head's 8"),
    "tables": (ROTATE, [f32(2, 24), *TABLES], {"heads": 2}, "4 columns; 12 elements .* 6 pairs"),
    "groups": (ATTENTION, [*QKV, *STEP, *PER_HEAD], {**GIVEN, "groups": 3}, "4 heads and 3 groups"),
    "width": (ATTENTION, [f32(1, 24), *QKV[1:], *STEP, *PER_HEAD], GIVEN, "q is 24 wide"),
    "slopes": (ATTENTION, [*QKV, *STEP, f32(3), f32(3)], GIVEN, "3 elements for 4 heads"),
    "window": (ATTENTION, [*QKV, *STEP, *PER_HEAD], {**GIVEN, "window": -1}, "window is -1"),
    "axis": ("ingot::AllGather", [f32(2, 4)], {"axis": 2, "ranks": 1}, "axis is 2; it must be 0"),
    "no ranks": ("ingot::AllGather", [f32(2, 4)], {"axis": 1, "ranks": 0}, "ranks is 0; it must"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_fit_is_refused(name):
    """The sentence names the op, what was found, and what is allowed."""
    op, inputs, attributes, sentence = REFUSALS[name]
    outputs = {ATTENTION: 3, "ingot::QuantizeToken": 2, "ingot::AddRmsNorm": 2}.get(op, 1)
    with pytest.raises(ValueError, match=f"{op.split('::')[1]}.*{sentence}"):
        call(op, inputs, [((1, 1), F32)] * outputs, **attributes)


def test_a_position_beyond_the_tables_is_refused():
    """Rotate reads no row of cos and sin that is not there."""
    for position in (-1, 8):
        inputs = [f32(2, 16), *TABLES[:2], i32(0, position)]
        with pytest.raises(ValueError, match=f"token 1 is at position {position}; .* 0 to 7"):
            call(ROTATE, inputs, [((2, 16), F32)], heads=2)


@pytest.mark.parametrize("codes", [F8, I8], ids=str)
@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
def test_parts_of_a_token_have_the_codes_of_the_whole(dtype, codes):
    """With the largest of all parts given, each part is quantized as it is among the others."""
    x_TD = numbers(np.random.default_rng(4), (5, 2600), dtype)
    whole_TD, scale_T = quantize(x_TD, codes)
    parts = [np.ascontiguousarray(part) for part in np.split(x_TD, [7, 1100], axis=1)]
    largest = [
        native.run_op("op n ingot::TokenLargest@1 in=x out=y", [part], [f32(5)])[0]
        for part in parts
    ]
    line = f"op n ingot::QuantizeToken@1 in=x,l out=c,s dtype=d:{native.WORDS[codes]}"
    for part, want in zip(parts, np.split(whole_TD, [7, 1100], axis=1), strict=True):
        outputs = [np.zeros(part.shape, codes), f32(5)]
        got, scale = native.run_op(line, [part, np.maximum.reduce(largest)], outputs)
        assert got.tobytes() == want.tobytes() and scale.tobytes() == scale_T.tobytes()


def test_collectives_that_cannot_be():
    """Another reduction; more ranks than there are."""
    with pytest.raises(ValueError, match=r"AllReduce.*op is 'mean'; it must be sum or max"):
        native.run_op("op n ingot::AllReduce@1 in=x out=y op=s:mean", [f32(2, 4)], [f32(2, 4)])
    line = "op n ingot::AllGather@1 in=x out=y axis=i:1 ranks=i:2"
    with pytest.raises(ValueError, match="it gathers from 2 ranks, there are 1"):
        native.run_op(line, [f32(2, 4)], [f32(2, 8)])
