"""Standard ops on CUDA: the CPU's bits, or its numbers where a function or a sum is made anew."""

import zlib

import numpy as np
import pytest
from cpu_kernels import BF16, F16, F32, numbers
from standard_cases import CASES
from test_ops_ingot import wide

from core import native
from core.command import ArgumentError
from core.op_line import op_line
from core.ops import Rows

pytestmark = pytest.mark.gpu

FLOATS = [F32, F16, BF16]
ROWS = {row.name: row for row in Rows() if row.domain == ""}
# Relative and absolute distance where the CPU's library computes a function, or sums in an order of
# its own: few units in the last place of float32, and one or two roundings to the type.
FUNCTIONS = {
    "Exp", "Log", "Sin", "Cos", "Tanh", "Sigmoid", "Erf", "Gelu", "Swish", "Softplus", "Pow",
    "RMSNormalization", "LayerNormalization",
}  # fmt: skip
TOLERANCES = {F32: (4e-6, 2e-6), F16: (2e-3, 1e-3), BF16: (1.6e-2, 8e-3)}
COVERED = {op["name"] for op in native.op_table()["ops"] if op["domain"] == "" and "cuda" in op}
SEVERAL = {  # kernels, where there is more than the one that is chosen
    "RMSNormalization": ["registers", "loops"],
    "LayerNormalization": ["registers", "loops"],
    "Cast": ["vectors", "pairs"],
    "CastLike": ["vectors", "pairs"],
}
REFUSED = ("takes no types of 4 bits", "takes no floats as exponents of integers")


def same(found, wanted, what):
    """Equal numbers, NaN and the signs of zeros included, or a failure that says where not."""
    a, b = wide(found), wide(wanted)
    wrong = ~((a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b)))
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        pytest.fail(
            f"{what}: {found.shape} {found.dtype}, {wrong.sum()} of {wrong.size} differ, the first "
            f"at {first}: {found[first]}, not {wanted[first]}",
            pytrace=False,
        )


def words_of(case):
    """The types that a case is tried with."""
    if case.words:
        return case.words
    row = ROWS[case.op]
    free = [i for i, given in enumerate(case.inputs) if given and not given.word]
    return row.input(free[0]).dtypes or row.input(0).dtypes if free else ("-",)


def cases():
    return [
        pytest.param(case, word, id=f"{case}-{word}")
        for case in CASES
        if case.op in COVERED
        for word in words_of(case)
    ]


def check(op, line, arrays, outputs, in_place=False):
    """By every kernel, what the CPU gives."""
    wanted = native.run_op(line, arrays, [np.zeros_like(y) for y in outputs])
    for kernel in SEVERAL.get(op, [None]):
        fresh, given = [np.zeros_like(y) for y in outputs], list(arrays)
        if in_place:
            fresh[0] = given[0] = np.array(arrays[0])
        try:
            found = native.run_op(line, given, fresh, kernel=kernel, device="cuda")
        except ArgumentError as error:
            if any(sentence in str(error) for sentence in REFUSED):
                pytest.skip(str(error))
            raise
        for mine, want in zip(found, wanted, strict=True):
            if op in FUNCTIONS and want.dtype in TOLERANCES:
                relative, absolute = TOLERANCES[want.dtype]
                name = f"{line} {kernel}"
                np.testing.assert_allclose(wide(mine), wide(want), relative, absolute, err_msg=name)
            else:
                same(mine, want, f"{line} {kernel}")


@pytest.mark.parametrize(("case", "word"), cases())
def test_op_is_the_definition(case, word):
    """For every case of the CPU's tests, also in place where the row lets it."""
    random = np.random.default_rng(zlib.crc32(f"{case}{word}".encode()))
    arrays = [None if given is None else given.array(word, random) for given in case.inputs]
    row = ROWS[case.op]
    names = [None if given is None else f"x{i}" for i, given in enumerate(case.inputs)]
    line = op_line(row, "n", names, [f"y{i}" for i in range(case.outputs)], case.attributes)

    def described(place, array):
        on_host = row.input(place).role == "host"
        return native.WORDS[array.dtype], array.shape, array if on_host else None

    given = [None if a is None else described(i, a) for i, a in enumerate(arrays)]
    kinds = native.infer_op(line, given, case.outputs)
    outputs = [np.zeros(shape, native.DTYPES[word][1]) for word, shape in kinds]
    check(case.op, line, arrays, outputs)
    source = row.output(0).alias
    if source == 0 and (arrays[0].dtype, arrays[0].shape) == (outputs[0].dtype, outputs[0].shape):
        check(case.op, line, arrays, outputs, in_place=True)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", ["Add", "Mul", "Max", "Div", "Sub", "Min"])
def test_vectors_of_two_inputs(op, dtype):
    """Shapes that go by vectors: alike, a row or a column for all, and one number."""
    rng = np.random.default_rng(5)
    for shape, other in [
        ((33, 4096), (33, 4096)), ((33, 4096), (4096,)), ((33, 4096), (33, 1)), ((7, 64), ()),
        ((1,), (5, 256)), ((4, 1, 64), (3, 64)), ((2, 3, 8, 16), (3, 1, 16)), ((5, 12), (5, 12)),
    ]:  # fmt: skip
        arrays = [np.asarray(numbers(rng, s, dtype)) for s in (shape, other)]
        shape = np.broadcast_shapes(shape, other)
        check(op, f"op n ::{op} in=a,b out=y", arrays, [np.zeros(shape, dtype)])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Swish", "Gelu", "Relu", "Neg"])
def test_vectors_of_one_input(op, dtype):
    x = numbers(np.random.default_rng(6), (33, 4096), dtype, 4)
    check(op, f"op n ::{op} in=x out=y", [x], [np.zeros_like(x)])


@pytest.mark.parametrize("to", FLOATS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("count", [1, 7, 8, 4099, 64 * 32000])
def test_cast_between_floats(count, dtype, to):
    """Rounded once; whole vectors and what is left."""
    x = numbers(np.random.default_rng(count), (count,), dtype, 100)
    line = f"op n ::Cast in=x out=y to=d:{native.WORDS[to]}"
    check("Cast", line, [x], [np.zeros(count, to)])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("T, D", [(257, 64), (5, 768), (64, 4096), (3, 4100), (2, 16384), (1, 1)])
def test_layer_normalization(T, D, dtype):
    """With a bias, Mean and InvStdDev; a mean that is not 0."""
    rng = np.random.default_rng(D)
    arrays = [numbers(rng, (T, D), dtype) + dtype.type(0.5)]
    arrays += [numbers(rng, (D,), dtype) for _ in range(2)]
    outputs = [np.zeros((T, D), dtype), np.zeros((T, 1), F32), np.zeros((T, 1), F32)]
    check("LayerNormalization", "op n ::LayerNormalization in=x,s,b out=y,m,i", arrays, outputs)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_an_index_outside_gives_zeros(dtype):
    """Nothing outside of the table is read, and the others get their rows."""
    table_VD = numbers(np.random.default_rng(1), (50, 72), dtype)
    ids_T = np.array([0, 49, 50, -1, -50, -51, 2**31 - 1, -(2**31), 7], np.int32)
    line = "op n ::Gather in=t,i out=y"
    [y_TD] = native.run_op(line, [table_VD, ids_T], [np.zeros((9, 72), dtype)], device="cuda")
    for row, place in zip(y_TD, [0, 49, None, 49, 0, None, None, None, 7], strict=True):
        same(row, np.zeros(72, dtype) if place is None else table_VD[place], f"row {place}")


@pytest.mark.parametrize("T", [1, 3, 64, 2048])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_table_of_embeddings(dtype, T):
    """The rows of the ids, of Llama's width and an odd one."""
    rng = np.random.default_rng(T)
    for D in (4096, 51):
        table_VD = numbers(rng, (1000, D), dtype)
        ids_T = rng.integers(0, 1000, T).astype(np.int32)
        line, y_TD = "op n ::Gather in=t,i out=y", np.zeros((T, D), dtype)
        [y_TD] = native.run_op(line, [table_VD, ids_T], [y_TD], device="cuda")
        same(y_TD, table_VD[ids_T], f"{T} x {D}")


@pytest.mark.parametrize("sizes", [[4096, 1024, 1024], [64, 32, 32], [5, 0, 9], [1] * 40], ids=str)
@pytest.mark.parametrize("T", [0, 1, 257])
def test_split_and_concat_undo_each_other(T, sizes):
    """Also more parts than one launch has."""
    x_TD = numbers(np.random.default_rng(T), (T, sum(sizes)), BF16)
    names = ",".join(f"y{i}" for i in range(len(sizes)))
    parts = [np.zeros((T, size), BF16) for size in sizes]
    line, given = f"op n ::Split in=x,s out={names} axis=i:-1", np.array(sizes, np.int64)
    if len(sizes) > 16:  # more are not listed
        line, given = line.replace(",s", ",-") + f" num_outputs=i:{len(sizes)}", None
    parts = native.run_op(line, [x_TD, given], parts, device="cuda")
    wanted = np.split(x_TD, np.cumsum(sizes)[:-1], axis=1)
    for i, (part, want) in enumerate(zip(parts, wanted, strict=True)):
        same(part, want, f"part {i}")
    line = f"op n ::Concat in={names} out=x axis=i:1"
    [whole] = native.run_op(line, parts, [np.zeros_like(x_TD)], device="cuda")
    same(whole, x_TD, "the whole")
