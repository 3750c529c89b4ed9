"""Uses of every standard op row: their inputs, attributes and types, for test_ops_standard.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from core.native import DTYPES

INFINITY = float("inf")
LIMITS = {"bool": (0, 1), "u8": (0, 255), "i8": (-128, 127), "u4": (0, 15), "i4": (-8, 7)}
F32, F16, BF16, E4M3, E5M2 = (
    DTYPES[word][0] for word in ("f32", "f16", "bf16", "f8e4m3", "f8e5m2")
)
BOOL, U8, I8, I32, I64, U4, I4 = (
    DTYPES[w][0] for w in ("bool", "u8", "i8", "i32", "i64", "u4", "i4")
)


@dataclass(frozen=True)
class Drawn:
    """A random tensor; word None: of the type that the test is about."""

    shape: tuple[int, ...]
    low: float = -3
    high: float = 3
    word: str | None = None

    def array(self, word: str, random: np.random.Generator) -> np.ndarray:
        word = self.word or word
        kind = DTYPES[word][1]
        if word[0] in "bf" and word != "bool":
            return random.uniform(self.low, self.high, self.shape).astype(kind)
        least, most = LIMITS.get(word, (-(2**30), 2**30))
        low, high = max(least, int(self.low)), min(most, int(self.high))
        return random.integers(low, max(low, high) + 1, self.shape).astype(kind)


@dataclass(frozen=True)
class Given:
    """A tensor with these elements. host: it is a constant for ONNX, too."""

    values: object
    word: str | None = "i64"
    host: bool = True

    def array(self, word: str, random: np.random.Generator) -> np.ndarray:
        dtype = DTYPES[self.word or word][1]
        whole = np.issubdtype(dtype, np.integer)  # float64 would round large ones
        return np.array(self.values, np.int64 if whole else np.float64).astype(dtype)


@dataclass(frozen=True)
class Case:
    op: str
    inputs: tuple
    attributes: dict = field(default_factory=dict)
    outputs: int = 1
    words: tuple[str, ...] = ()  # types that it is tested with; (): all that the row takes
    oracle: str = ""  # "reference": onnxruntime does otherwise than ONNX says

    def __str__(self):
        shapes = "_".join(
            "x".join(map(str, getattr(i, "shape", "h"))) or "scalar" for i in self.inputs if i
        )
        marks = "_".join(f"{key}={value}" for key, value in self.attributes.items())
        return f"{self.op}-{shapes}{'-' if marks else ''}{marks}".replace(" ", "")


def x(*shape, low=-3, high=3, word=None) -> Drawn:
    return Drawn(shape, low, high, word)


def host(*values, word="i64") -> Given:
    return Given(values, word)


def one(value, word="i64") -> Given:
    return Given(value, word)


def data(values, word=None) -> Given:
    return Given(values, word, host=False)


def case(op, *inputs, outputs=1, words=(), oracle="", **attributes) -> Case:
    return Case(op, inputs, attributes, outputs, tuple(words), oracle)


SMALL_FLOATS = ("f32", "f16", "bf16")
FLOATS = (*SMALL_FLOATS, "f8e4m3", "f8e5m2")
WHOLE = ("u8", "i8", "i32", "i64", "bool", "u4", "i4")
PLAIN = ("f32", "f16", "u8", "i8", "i32", "i64")
UNARY = (
    "Neg", "Abs", "Sign", "Exp", "Sin", "Cos", "Tanh", "Sigmoid", "Erf", "Relu", "LeakyRelu",
    "Gelu", "Swish", "Softplus", "Floor", "Ceil", "Round", "IsNaN", "Not", "BitwiseNot",
    "Identity",
)  # fmt: skip
BINARY = (
    "Add", "Sub", "Mul", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Less", "LessOrEqual",
    "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Min", "Max",
)  # fmt: skip
REDUCTIONS = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2",
    "ReduceSumSquare",
)  # fmt: skip
SPECIAL = data([0.0, -0.0, 1.5, -2.5, 0.5, INFINITY, -INFINITY, float("nan"), 1e-3])


def unary() -> list[Case]:
    cases = []
    for op in UNARY:
        cases += [case(op, x(3, 1, 7)), case(op, x()), case(op, x(0, 4))]
    for op in ("Sqrt", "Log", "Reciprocal"):
        cases += [case(op, x(5, 300, low=0.1, high=9)), case(op, x(low=1))]
    for op in ("Neg", "Abs", "Floor", "Ceil", "Round", "Relu", "IsNaN"):
        cases.append(case(op, SPECIAL, words=SMALL_FLOATS))
    cases += [
        case("Gelu", x(4, 33), approximate="tanh"),
        case("Swish", x(4, 33), alpha=1.7),
        case("LeakyRelu", x(4, 33), alpha=0.3),
        case("Exp", x(600, low=-20, high=4)),
        case("Softplus", x(40, low=-60, high=60)),
        case("Sigmoid", x(40, low=-60, high=60)),
    ]
    return cases


def binary() -> list[Case]:
    cases = []
    for op in BINARY:
        cases += [
            case(op, x(3, 1, 5), x(4, 1)),
            case(op, x(), x()),
            case(op, x(2, 600), x(600)),
            case(op, x(2, 3, 4), x(3, 1)),
            case(op, x(), x(2, 3)),
            case(op, x(0, 3), x(1, 3)),
        ]
    cases += [
        case("Div", x(3, 4), x(4, low=1, high=5)),
        case("Div", x(3, 4), x(3, 1, low=-5, high=-1), words=("f32", "i32", "i64", "f16", "bf16")),
        case(
            "Mod",
            x(3, 40, low=-90, high=90),
            x(40, low=1, high=7),
            words=("u8", "i8", "i32", "i64"),
        ),
        case("Mod", x(300, low=-90, high=90), x(low=-7, high=-3), words=("i8", "i32", "i64")),
        case("Mod", x(3, 40, low=-90, high=90), x(40, low=1, high=7), fmod=1),
        case("Pow", x(3, 40, low=0.1), x(40, low=-2, high=2), words=("f32", "f16", "bf16")),
        case("Pow", x(3, 40), x(low=0, high=4), words=("i32", "i64")),
        case("Pow", x(3, 40), data([2.0], "f32")),
        case("Pow", x(3, 40, low=0), data([[2], [3], [0]], "i64")),
        case("BitShift", x(40, low=0, high=255), data([4], "u8"), direction="RIGHT"),
        case("BitShift", x(40, low=0, high=255), x(2, 1, low=0, high=9), direction="LEFT"),
        case("Max", x(3)),
        case("Min", x(2, 1), x(3), x(4, 1, 1)),
        case("Max", x(2, 1), x(3), x(4, 1, 1)),
        case("Max", SPECIAL, x(9), words=("f32", "f16", "bf16")),
        case("Clip", x(5, 60), x(low=-1, high=-1), x(low=1, high=1)),
        case("Clip", x(5, 60), None, x(low=1, high=1)),
        case("Clip", x(2)),
        case("Clip", x(), x(low=1, high=2)),
        case("Where", x(3, 1, word="bool"), x(3, 4), x(4)),
        case("Where", x(2, 3, word="bool"), x(), x(2, 1)),
    ]
    return cases


def casts() -> list[Case]:
    cases = []
    for to in (F32, F16, BF16, E4M3, E5M2, BOOL, U8, I8, I32, I64, U4, I4):
        # onnxruntime rounds floats to 4 bits; ONNX's own reference goes toward zero, as to 8.
        oracle = "reference" if to in (U4, I4) else ""
        cases += [
            case("Cast", x(3, 7, low=0, high=6), to=to, words=FLOATS, oracle=oracle),
            case("Cast", x(3, 7, low=0, high=6), to=to, words=WHOLE),
        ]
        if to in (F32, F16, BF16, E4M3, E5M2, I8, I32, I64, I4):
            cases += [
                case("Cast", x(300, low=-7, high=7), to=to, words=SMALL_FLOATS, oracle=oracle),
                case("Cast", x(300, low=-7, high=7), to=to, words=("i8", "i32", "i64")),
            ]
    cases += [
        case(
            "Cast",
            data([0, -0.0, 1e9, -1e9, INFINITY, -INFINITY, 464, 465, 500]),
            to=to,
            saturate=saturate,
            words=("f32", "bf16"),
        )
        for to in (E4M3, E5M2)
        for saturate in (0, 1)
    ]
    cases += [
        case("Cast", x(40, low=-1000, high=1000), to=U8, words=("i32", "i64")),
        case("CastLike", x(3, 7, low=0, high=6), x(1, word="bf16")),
        case("CastLike", x(3, 7, low=0, high=6), x(1, word="i8")),
        case("CastLike", x(3, 7, low=0, high=6), x(1, word="f8e4m3")),
    ]
    return cases


def movement() -> list[Case]:
    places = data([[0, -1, 2]], "i64")
    return [
        case("Reshape", x(2, 3, 4), host(4, -1)),
        case("Reshape", x(2, 3, 4), host(0, 0, 2, 2)),
        case("Reshape", x(0, 3), host(3, 0), allowzero=1),
        case("Reshape", x(), host(1, 1)),
        case("Reshape", x(1, 1), Given([])),
        case("Squeeze", x(1, 3, 1), host(0, -1)),
        case("Squeeze", x(1, 3, 1)),
        case("Unsqueeze", x(3, 4), host(0, -1)),
        case("Unsqueeze", x(), host(0)),
        case("Flatten", x(2, 3, 4), axis=2),
        case("Flatten", x(2, 3, 4), axis=-1),
        case("Flatten", x(2, 3), axis=0),
        case("Flatten", x(2, 3), axis=2),
        case("Flatten", x(), axis=0),
        case("Transpose", x(2, 3, 4, 5), perm=[2, 0, 3, 1]),
        case("Transpose", x(3, 5)),
        case("Transpose", x(40, 50)),
        case("Transpose", x(2, 33, 17), perm=[0, 2, 1]),
        case("Transpose", x(0, 3)),
        case("Transpose", x()),
        case("Slice", x(9, 10), host(1, -7), host(8, 2**40), None, host(2, 3)),
        case("Slice", x(9, 10), host(-1), host(-(2**40)), host(1), host(-3)),
        case("Slice", x(9, 10), host(20), host(30)),
        case(
            "Slice",
            x(9, 10),
            host(8, word="i32"),
            host(2, word="i32"),
            host(-2, word="i32"),
            host(-2, word="i32"),
        ),
        case("Slice", x(3), host(-30), host(2)),
        case("Split", x(7, 4), host(2, 0, 5), outputs=3),
        case("Split", x(2, 7, 3), axis=-2, num_outputs=3, outputs=3),
        case("Split", x(6), num_outputs=2, outputs=2),
        case("Concat", x(2, 3, 4), x(2, 1, 4), x(2, 0, 4), axis=1),
        case("Concat", x(3), x(4), axis=-1),
        case("Concat", x(2, 3), axis=0),
        case("Expand", x(3, 1), host(2, 1, 4)),
        case("Expand", x(), host(2, 3)),
        case("Expand", x(3, 4), host(1)),
        case("Tile", x(2, 3), host(2, 3)),
        case("Tile", x(2, 3, 1), host(1, 2, 4)),
        case("Tile", x(2, 3), host(0, 1)),
        case("Pad", x(2, 3), host(1, 0, 2, 3)),
        case("Pad", x(4, 5), host(-1, 2, 1, -2), x(low=2, high=2), words=PLAIN),
        case("Pad", x(4, 5), host(1, 2), None, host(-1)),
        case("Pad", x(4, 5), host(1, 2), x(), host(0)),
        case("Trilu", x(2, 4, 5)),
        case("Trilu", x(4, 5), one(1), upper=0),
        case("Trilu", x(5, 4), one(-2)),
        case("Trilu", x(3, 3), one(-7), upper=0),
        case("Gather", x(5, 3), places),
        case("Gather", x(2, 5, 3), places, axis=1),
        case("Gather", x(5, 4), data(3, "i32"), axis=-1),
        case("Gather", x(5, 0), places),
        case("Gather", x(300, 40), data(list(range(299, -1, -1)), "i32")),
        case("GatherElements", x(3, 4), data([[0, -1], [2, 1]], "i64")),
        case("GatherElements", x(3, 4), data([[3], [0], [-4]], "i32"), axis=1),
        case("GatherND", x(3, 4, 2), data([[0, 1], [-1, 3]], "i64")),
        case("GatherND", x(2, 4, 2), data([[1], [-1]], "i64"), batch_dims=1),
        case("GatherND", x(3, 4), data([[2, 1]], "i64")),
        case("ScatterElements", x(3, 4), data([[0, -1], [2, 1]], "i64"), x(2, 2)),
        case("ScatterElements", x(3, 4), data([[3], [0], [-4]], "i32"), x(3, 1), axis=1),
        case("ScatterND", x(5, 2), data([[0], [-1]], "i64"), x(2, 2)),
        case("ScatterND", x(3, 4), data([[[2, 1], [0, 0]]], "i64"), x(1, 2)),
        case("OneHot", data([0, 3, -1, 9], "i64"), one(4), x(2), words=PLAIN),
        case("OneHot", data([[0], [2]], "i32"), one(3), x(2), words=PLAIN, axis=0),
        case("Shape", x(2, 3, 4)),
        case("Shape", x(2, 3, 4), start=-2),
        case("Shape", x(2, 3, 4), start=1, end=-1),
        case("Shape", x()),
        case("Size", x(2, 3, 4)),
        case("Size", x(0, 4)),
        case("Range", one(3, None), one(11, None), one(2, None)),
        case("Range", one(3, None), one(-4, None), one(-3, None)),
        case("Range", one(3, None), one(3, None), one(1, None)),
        case("ConstantOfShape", host(2, 3)),
        case("ConstantOfShape", Given([])),
    ]


def reductions() -> list[Case]:
    cases = []
    for op in REDUCTIONS:
        cases += [
            case(op, x(3, 4, 5), host(1)),
            case(op, x(3, 4, 5), host(0, -1), keepdims=0),
            case(op, x(3, 4)),
            case(op, x()),
            case(op, x(3, 4), noop_with_empty_axes=1),
            case(op, x(2, 7, 3), host(-1)),
            case(op, x(3, 0), host(0), keepdims=0),
        ]
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2"):
        cases.append(case(op, x(2, 3000), host(1), words=SMALL_FLOATS))
    # NaN wins, as in numpy; onnxruntime passes it over.
    cases += [
        case(op, SPECIAL, words=SMALL_FLOATS, oracle="reference")
        for op in ("ReduceMax", "ReduceMin")
    ]
    for op in ("Softmax", "LogSoftmax"):
        cases += [
            case(op, x(3, 700)),
            case(op, x(3, 40, 5), axis=1),
            case(op, x(3, 4), axis=-2),
            case(op, x(1), axis=0),
        ]
    cases += [
        case("CumSum", x(3, 4), one(1)),
        case("CumSum", x(3, 4), one(-2, "i32"), exclusive=1, reverse=1),
        case("CumSum", x(9), one(0)),
        case("TopK", x(3, 40), host(5), outputs=2),
        case("TopK", x(3, 40), host(40), largest=0, outputs=2),
        case("TopK", x(6, 3), host(2), axis=0, outputs=2),
        case("TopK", x(4), host(0), outputs=2),
        case("ArgMax", x(3, 40), axis=-1),
        case("ArgMax", x(6, 3), axis=0, keepdims=0),
        case("ArgMax", x(3, 40, low=0, high=2), axis=1, select_last_index=1),
    ]
    return cases


def norms() -> list[Case]:
    return [
        case("RMSNormalization", x(3, 40), x(40)),
        case("RMSNormalization", x(2, 3, 700), x(700), epsilon=0.1),
        case("RMSNormalization", x(3, 4, 5), x(4, 5), axis=1),
        case("LayerNormalization", x(3, 40), x(40), outputs=3),
        case("LayerNormalization", x(3, 4, 50), x(4, 50), x(4, 50), axis=-2),
        case("LayerNormalization", x(2, 700), x(700), x(700), epsilon=0.1),
    ]


def products() -> list[Case]:
    return [
        case("MatMul", x(3, 70), x(70, 5)),
        case("MatMul", x(130, 65), x(65, 130)),
        case("MatMul", x(2, 3, 4), x(4, 5)),
        case("MatMul", x(2, 1, 3, 4), x(3, 4, 5)),
        case("MatMul", x(4), x(4, 5)),
        case("MatMul", x(2, 3, 4), x(4)),
        case("MatMul", x(4), x(4)),
        case("MatMul", x(5, 2, 4), x(5, 4, 3)),
        case("MatMul", x(0, 4), x(4, 3)),
        case("MatMul", x(3, 0), x(0, 2)),
        case("MatMul", x(4), x(2, 4, 3)),
        case("Gemm", x(3, 70), x(70, 5)),
        case("Gemm", x(70, 3), x(66, 70), x(66), transA=1, transB=1, alpha=0.5, beta=2.0),
        case("Gemm", x(3, 7), x(5, 7), x(3, 1), transB=1),
        case("Gemm", x(3, 7), x(7, 5), x()),
    ]


def quantization() -> list[Case]:
    cases = []
    for word in ("u8", "i8", "u4", "i4", "f8e4m3", "f8e5m2"):
        kind = DTYPES[word][0]
        wide = {"low": -40, "high": 40}
        zero = {"low": 0, "high": 0} if word[0] == "f" else {"low": 1, "high": 5}
        cases += [
            case(
                "QuantizeLinear", x(5, 9, **wide), data(0.31), output_dtype=kind, words=SMALL_FLOATS
            ),
            case(
                "QuantizeLinear",
                x(5, 9, **wide),
                x(5, low=0.1, high=1, word="f32"),
                x(5, word=word, **zero),
                axis=0,
                words=("f32",),
            ),
            case(
                "QuantizeLinear",
                x(4, 10, **wide),
                x(4, 3, low=0.1, high=1),
                axis=1,
                block_size=4,
                output_dtype=kind,
                words=SMALL_FLOATS,
            ),
            case(
                "QuantizeLinear",
                x(7, 3, **wide),
                x(2, 3, low=0.1, high=1),
                axis=0,
                block_size=4,
                output_dtype=kind,
                words=SMALL_FLOATS,
            ),
            case("DequantizeLinear", x(5, 9), data(0.31, "f32"), words=(word,)),
            case(
                "DequantizeLinear",
                x(5, 9),
                x(9, low=0.1, word="f16"),
                x(9, **zero),
                axis=-1,
                words=(word,),
            ),
            case(
                "DequantizeLinear",
                x(2, 6, 3),
                x(2, 2, 3, low=0.1, word="f32"),
                axis=1,
                block_size=3,
                words=(word,),
            ),
            case(
                "DequantizeLinear",
                x(5, 10),
                x(5, 3, low=0.1, word="f32"),
                block_size=4,
                words=(word,),
                output_dtype=BF16,
            ),
        ]
    cases += [
        case("QuantizeLinear", x(3, 5), data(0.5), words=("f32",)),
        case(
            "QuantizeLinear",
            x(3, 5),
            data(0.5, "f32"),
            output_dtype=E4M3,
            words=("bf16", "f16", "i32"),
        ),
        case(
            "QuantizeLinear",
            x(3, 5, low=-900, high=900),
            data(1),
            output_dtype=E4M3,
            saturate=0,
            words=("f32",),
        ),
        case(
            "QuantizeLinear",
            x(3, 5),
            data(0.3, "f16"),
            output_dtype=I8,
            precision=F32,
            words=("f16",),
        ),
        case("DequantizeLinear", x(3, 5, low=-900, high=900), data(0.5, "f32"), words=("i32",)),
    ]
    return cases


def attention() -> list[Case]:
    mask = data(np.where(np.tri(3, 4) > 0, 0, -INFINITY), None)
    return [
        case("RotaryEmbedding", x(2, 3, 5, 8), x(2, 5, 4), x(2, 5, 4)),
        case("RotaryEmbedding", x(2, 5, 24), x(2, 5, 4), x(2, 5, 4), num_heads=3),
        case(
            "RotaryEmbedding",
            x(1, 3, 4, 8),
            x(9, 4),
            x(9, 4),
            data([[8, 0, 3, 1]], "i64"),
            interleaved=1,
        ),
        case("RotaryEmbedding", x(2, 3, 5, 8), x(2, 5, 2), x(2, 5, 2), rotary_embedding_dim=4),
        case("Attention", x(2, 4, 3, 8), x(2, 2, 5, 8), x(2, 2, 5, 6)),
        case("Attention", x(1, 4, 5, 8), x(1, 4, 5, 8), x(1, 4, 5, 8), is_causal=1),
        case(
            "Attention",
            x(2, 3, 32),
            x(2, 4, 16),
            x(2, 4, 16),
            mask,
            q_num_heads=4,
            kv_num_heads=2,
            scale=0.2,
        ),
        case(
            "Attention",
            x(1, 2, 3, 8),
            x(1, 2, 4, 8),
            x(1, 2, 4, 8),
            x(1, 2, 3, 4, word="bool"),
            softcap=1.5,
        ),
        case("Attention", x(2, 2, 3, 8), x(2, 2, 4, 8), x(2, 2, 4, 8), x(2, 1, 3, 4)),
    ]


CASES = [
    *unary(),
    *binary(),
    *casts(),
    *movement(),
    *reductions(),
    *norms(),
    *products(),
    *quantization(),
    *attention(),
]
