"""Standard ops on the CPU give what ONNX says, for every row and type that it takes."""

from __future__ import annotations

import warnings
import zlib

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from standard_cases import CASES, Case, Given
from standard_refusals import REFUSALS

from core import native
from core.native import DTYPES, WORDS
from core.op_line import op_line
from core.ops import TENSORS, Row, Rows

OPSET = 24
ROWS = {row.name: row for row in Rows() if row.domain == ""}
FLOATS = {"f32", "f16", "bf16", "f8e4m3", "f8e5m2"}
NUMPY = {
    "f32",
    "f16",
    "u8",
    "i8",
    "i32",
    "i64",
    "bool",
}  # onnxruntime takes and gives these as arrays

# Relative and absolute distance of results, by type: roundings of ours and of the other side.
TOLERANCES = {
    "f32": (2e-6, 2e-6),
    "f16": (2e-3, 1e-3),
    "bf16": (1.6e-2, 8e-3),
    "f8e4m3": (0, 0),
    "f8e5m2": (0, 0),
}
# What is added up, or goes through a function of its own there, is less exact: (reason, factor).
LOOSER = {
    "MatMul": ("sums of products", 10),
    "Gemm": ("sums of products", 10),
    "ReduceSum": ("sums in another order", 10),
    "ReduceMean": ("sums in another order", 10),
    "ReduceL2": ("sums in another order", 10),
    "ReduceSumSquare": ("sums in another order", 10),
    "ReduceProd": ("products in another order", 10),
    "CumSum": ("sums are rounded on the way there", 4),
    "RMSNormalization": ("means in another order", 4),
    "LayerNormalization": ("the variance is found in another way", 10),
    "LogSoftmax": ("a difference of numbers much larger than it", 4),
    "Attention": ("scores and weights are rounded on the way there", 4),
    "RotaryEmbedding": ("products are rounded on the way there", 2),
    "Pow": ("the power is found by logarithms", 4),
    "Erf": ("a polynomial there", 4),
    "Gelu": ("a polynomial there", 4),
}


# Attributes that no row can hold, and types that a naive kernel does not take.
NOT_TAKEN = {"ConstantOfShape": {"value"}}
FEWER_TYPES = {
    ("OneHot", "indices"): {"f32", "f16"},
    ("OneHot", "depth"): {"f32", "f16", "u8", "i8"},  # a constant on the host
    ("Range", "start"): {"f32"},
    ("Range", "limit"): {"f32"},
    ("Range", "delta"): {"f32"},
    ("Gemm", "A"): {"i32", "i64"},
    ("Gemm", "B"): {"i32", "i64"},
    ("Gemm", "C"): {"i32", "i64"},
    ("QuantizeLinear", "y_scale"): {"i32"},
    ("Attention", "attn_mask"): {"u8", "i8", "i32", "i64"},
}


def words_of(case: Case) -> tuple[str, ...]:
    if case.words:
        return case.words
    row, free = (
        ROWS[case.op],
        [i for i, given in enumerate(case.inputs) if given and not given.word],
    )
    return row.input(free[0]).dtypes or row.input(0).dtypes if free else ("-",)


def cases() -> list:
    return [
        pytest.param(case, word, id=f"{case}-{word}") for case in CASES for word in words_of(case)
    ]


def arrays_of(case: Case, word: str) -> list[np.ndarray | None]:
    random = np.random.default_rng(zlib.crc32(f"{case}{word}".encode()))
    return [None if given is None else given.array(word, random) for given in case.inputs]


def line_of(case: Case) -> str:
    names = [None if given is None else f"x{i}" for i, given in enumerate(case.inputs)]
    return op_line(
        ROWS[case.op], "n", names, [f"y{i}" for i in range(case.outputs)], case.attributes
    )


def model_of(case: Case, arrays, kept: dict[int, int] | None = None) -> onnx.ModelProto:
    """One node; constants are initializers.

    kept: output types, for onnxruntime; whatever it has no arrays for is cast on the way.
    """
    nodes, inputs, initializers, names = [], [], [], []
    for i, (given, array) in enumerate(zip(case.inputs, arrays, strict=True)):
        names.append("" if given is None else f"x{i}")
        if given is None:
            continue
        dtype = DTYPES[WORDS[array.dtype]][0]
        if isinstance(given, Given) and given.host:
            initializers.append(onnx.numpy_helper.from_array(array, f"x{i}"))
        elif kept is None or WORDS[array.dtype] in NUMPY:
            inputs.append(onnx.helper.make_tensor_value_info(f"x{i}", dtype, array.shape))
        else:
            inputs.append(
                onnx.helper.make_tensor_value_info(f"x{i}f", onnx.TensorProto.FLOAT, array.shape)
            )
            nodes.append(onnx.helper.make_node("Cast", [f"x{i}f"], [f"x{i}"], to=dtype))
    nodes.append(
        onnx.helper.make_node(
            case.op, names, [f"y{i}" for i in range(case.outputs)], **case.attributes
        )
    )
    results = []
    for i in range(case.outputs):
        name = f"y{i}"
        if kept and kept[i] not in {DTYPES[word][0] for word in NUMPY}:
            nodes.append(
                onnx.helper.make_node("Cast", [name], [f"{name}f"], to=onnx.TensorProto.FLOAT)
            )
            name += "f"
        results.append(onnx.helper.make_empty_tensor_value_info(name))
    graph = onnx.helper.make_graph(nodes, "g", inputs, results, initializers)
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=11
    )


def inferred_by_onnx(case: Case, arrays) -> list[tuple[str, tuple[int, ...]]]:
    model = onnx.shape_inference.infer_shapes(
        model_of(case, arrays), strict_mode=True, data_prop=True
    )
    types = [output.type.tensor_type for output in model.graph.output]
    words = {number: word for word, (number, _) in DTYPES.items()}
    return [(words[t.elem_type], tuple(d.dim_value for d in t.shape.dim)) for t in types]


def inferred(case: Case, arrays) -> list[tuple[str, tuple[int, ...]]]:
    def described(place: int, array: np.ndarray):
        on_host = ROWS[case.op].input(place).role == "host"
        return WORDS[array.dtype], array.shape, array if on_host else None

    given = [None if a is None else described(i, a) for i, a in enumerate(arrays)]
    return native.infer_op(line_of(case), given, case.outputs)


def run(case: Case, arrays, threads: int = 2) -> list[np.ndarray]:
    outputs = [np.zeros(shape, DTYPES[word][1]) for word, shape in inferred(case, arrays)]
    return native.run_op(line_of(case), arrays, outputs, threads=threads)


def by_onnxruntime(case: Case, arrays, types: list[int]) -> list[np.ndarray] | None:
    """What onnxruntime gives; None: it does not take these types."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    model = model_of(case, arrays, dict(enumerate(types)))
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, ["CPUExecutionProvider"]
        )
        names = {i.name for i in session.get_inputs()}
        feeds = {f"x{i}": a for i, a in enumerate(arrays) if f"x{i}" in names}
        feeds |= {f"x{i}f": a.astype(np.float32) for i, a in enumerate(arrays) if f"x{i}f" in names}
        return session.run(None, feeds)
    except Exception:
        return None


def by_reference(case: Case, arrays) -> list[np.ndarray]:
    feeds = {f"x{i}": a for i, a in enumerate(arrays) if a is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ReferenceEvaluator(model_of(case, arrays)).run(None, feeds)


def expected(case: Case, word: str, arrays, types: list[str]) -> list[np.ndarray]:
    numbers = [DTYPES[t][0] for t in types]
    if case.oracle == "reference":
        return by_reference(case, arrays)
    found = by_onnxruntime(case, arrays, numbers)
    if found is None and word in FLOATS and not {"to", "output_dtype"} & set(case.attributes):
        wide = [
            a.astype(np.float32) if a is not None and WORDS[a.dtype] in FLOATS else a
            for a in arrays
        ]
        found = by_onnxruntime(
            case, wide, [1 if t in FLOATS else n for t, n in zip(types, numbers, strict=True)]
        )
    return by_reference(case, arrays) if found is None else found


def assert_close(op: str, word: str, ours: np.ndarray, theirs: np.ndarray):
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    if word not in FLOATS:
        np.testing.assert_array_equal(ours.astype(np.int64), theirs.astype(np.int64))
        return
    relative, absolute = TOLERANCES[word]
    factor = LOOSER.get(op, ("", 1))[1]
    theirs = theirs.astype(np.float32).astype(ours.dtype).astype(np.float32)
    np.testing.assert_allclose(
        ours.astype(np.float32), theirs, factor * relative, factor * absolute
    )


@pytest.mark.parametrize(("case", "word"), cases())
def test_op_is_as_onnx_says(case: Case, word: str):
    """Types, shapes and elements."""
    arrays = arrays_of(case, word)
    types = inferred(case, arrays)
    assert types == inferred_by_onnx(case, arrays)
    ours = run(case, arrays)
    for (kind, _), mine, theirs in zip(
        types, ours, expected(case, word, arrays, [t for t, _ in types]), strict=True
    ):
        assert_close(case.op, kind, mine, theirs)


def test_every_row_has_a_case():
    """A new row needs one, and one for each of its types."""
    assert set(ROWS) == {case.op for case in CASES}


def kind_names(schema: onnx.defs.OpSchema, parameter) -> set[str]:
    """The types that ONNX takes there, of those that Ingot has."""
    words = {f"tensor({name})": word for word, name in TENSORS.items()}
    return {words[kind] for kind in parameter.types if kind in words}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_row_is_onnx_s(row: Row):
    """Names of inputs, outputs and attributes, defaults and types are those of opset 24."""
    schema = onnx.defs.get_schema(row.name, OPSET, "")
    taken = len(row.inputs)
    assert [a.name for a in row.inputs] == [p.name for p in schema.inputs][:taken]
    assert [a.name for a in row.outputs] == [p.name for p in schema.outputs][: len(row.outputs)]
    assert {a.name for a in row.attributes} == set(schema.attributes) - NOT_TAKEN.get(
        row.name, set()
    )
    for attribute in row.attributes:
        default = schema.attributes[attribute.name].default_value
        if default.name:
            value = onnx.helper.get_attribute_value(default)
            known = attribute.default or "0"
            assert (
                known.encode() if isinstance(value, bytes) else pytest.approx(float(known))
            ) == value
    letters = {a.letter: set(a.dtypes) for a in row.inputs if a.letter and a.dtypes}
    for argument, parameter in zip(row.inputs, schema.inputs, strict=False):
        wanted = kind_names(schema, parameter) - FEWER_TYPES.get((row.name, argument.name), set())
        assert (set(argument.dtypes) or letters[argument.letter]) == wanted, argument.name


@pytest.mark.parametrize(("case", "word"), cases())
def test_op_may_work_in_place(case: Case, word: str):
    """An output may take over the input that its row names, if they are alike.

    And the number of threads changes nothing.
    """
    arrays = arrays_of(case, word)
    ours = run(case, arrays, threads=1)
    for mine, again in zip(ours, run(case, arrays, threads=3), strict=True):
        assert mine.tobytes() == again.tobytes()
    source = ROWS[case.op].output(0).alias
    if source < 0 or arrays[source].dtype != ours[0].dtype or arrays[source].shape != ours[0].shape:
        return
    arrays[source] = np.ascontiguousarray(arrays[source])
    outputs = [arrays[source], *(np.zeros_like(y) for y in ours[1:])]
    assert native.run_op(line_of(case), arrays, outputs)[0].tobytes() == ours[0].tobytes()


@pytest.mark.parametrize("word", ["f32", "f16", "bf16"])
def test_a_row_of_a_product_is_the_same_in_any_batch(word: str):
    """Bit for bit, whatever the rows beside it and the threads."""
    random, kind = np.random.default_rng(1), DTYPES[word][1]
    a, b = random.normal(size=(131, 200)).astype(kind), random.normal(size=(200, 97)).astype(kind)
    line = "op n ::MatMul@24 in=a,b out=y"
    [whole] = native.run_op(line, [a, b], [np.zeros((131, 97), kind)])
    for first, last in ((0, 1), (7, 10), (60, 131)):
        [part] = native.run_op(
            line, [a[first:last], b], [np.zeros((last - first, 97), kind)], threads=1
        )
        assert part.tobytes() == whole[first:last].tobytes()


@pytest.mark.parametrize(("case", "sentence"), REFUSALS, ids=[str(case) for case, _ in REFUSALS])
def test_refusals_say_what_was_found(case: Case, sentence: str):
    """And what is wanted."""
    with pytest.raises(ValueError) as error:
        run(case, arrays_of(case, "f32"))
    assert sentence in str(error.value)
