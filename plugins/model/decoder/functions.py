"""ingot::Rotate, ingot::Attention and ingot::Experts_* in standard ONNX: what they mean.

They take any float type, compute in float32 and give back the type they were given. T tokens,
H query heads, G key/value heads, K head size, X = H · K, Y = G · K, L positions of the tables,
R pairs that are rotated, D width, F feed-forward width, E experts, C chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

OPSET = 24
INT, FLOAT = ir.AttributeType.INT, ir.AttributeType.FLOAT


def library(names: Iterable[str]) -> list[ir.Function]:
    """The functions called `names`."""
    return [_function(name, *_SIGNATURES[name]) for name in sorted(names)]


class Body:
    """The nodes of a function, in order."""

    def __init__(self):
        self.tape = Tape()

    def op(self, op_type: str, *inputs: ir.Value, **attributes) -> ir.Value:
        return self.tape.op(op_type, inputs, attributes)

    def integers(self, *numbers: int) -> ir.Value:
        return self.op("Constant", value=ir.tensor(np.array(numbers, np.int64)))

    def number(self, value: float) -> ir.Value:
        return self.op("Constant", value=ir.tensor(np.array(value, np.float32)))

    def whole(self, x: ir.Value) -> ir.Value:
        return self.op("Cast", x, to=ir.DataType.INT64)

    def float32(self, x: ir.Value) -> ir.Value:
        return self.op("Cast", x, to=ir.DataType.FLOAT)

    def integer(self, attribute: str) -> ir.Value:
        """The function's attribute as a scalar."""
        return self.op("Constant", value_int=ir.RefAttr("value_int", attribute, INT))

    def real(self, attribute: str) -> ir.Value:
        return self.op("Constant", value_float=ir.RefAttr("value_float", attribute, FLOAT))

    def unsqueeze(self, x: ir.Value, *axes: int) -> ir.Value:
        return self.op("Unsqueeze", x, self.integers(*axes))


def rotate(body: Body, x_TX, cos_LR, sin_LR, positions_T) -> ir.Value:
    """Pairs of each head turned by the angle of the token's position."""
    y_1TX = body.op(
        "RotaryEmbedding",
        body.float32(body.unsqueeze(x_TX, 0)),
        cos_LR,
        sin_LR,
        body.whole(body.unsqueeze(positions_T, 0)),
        num_heads=ir.RefAttr("num_heads", "heads", INT),
        interleaved=ir.RefAttr("interleaved", "interleaved", INT),
        rotary_embedding_dim=ir.RefAttr("rotary_embedding_dim", "dims", INT),
    )
    return body.op("CastLike", body.op("Squeeze", y_1TX, body.integers(0)), x_TX)


def attention(body: Body, q, k, v, positions_T, sequences_T, slopes_H, sinks_H) -> ir.Value:
    """Each token sees those of its own sequence from its own position - window + 1 to its own.

    score = cap(scale * q · k) + slope * (position of k - position of q); a sink is one more score
    with a zero value.
    """
    bias_HTL = _bias(body, positions_T, sequences_T, slopes_H, sinks_H)

    def with_sink(x: ir.Value) -> ir.Value:
        padded = body.op("Pad", body.float32(x), body.integers(0, 0, 1, 0), body.number(0))
        return body.unsqueeze(padded, 0)

    y_1TX = body.op(
        "Attention",
        body.float32(body.unsqueeze(q, 0)),
        with_sink(k),
        with_sink(v),
        body.unsqueeze(bias_HTL, 0),
        q_num_heads=ir.RefAttr("q_num_heads", "heads", INT),
        kv_num_heads=ir.RefAttr("kv_num_heads", "groups", INT),
        scale=ir.RefAttr("scale", "scale", FLOAT),
        softcap=ir.RefAttr("softcap", "softcap", FLOAT),
    )
    return body.op("CastLike", body.op("Squeeze", y_1TX, body.integers(0)), q)


def _bias(body: Body, positions_T, sequences_T, slopes_H, sinks_H) -> ir.Value:
    """[H, T, T + 1]: what is added to each score, -inf where nothing is seen; the sink is last."""
    positions = body.whole(positions_T)
    back_TT = body.op("Sub", body.unsqueeze(positions, 1), body.unsqueeze(positions, 0))
    same_TT = body.op("Equal", body.unsqueeze(sequences_T, 1), body.unsqueeze(sequences_T, 0))
    window, none = body.integer("window"), body.op("Constant", value_int=0)
    near = body.op("Or", body.op("Equal", window, none), body.op("Less", back_TT, window))
    before = body.op("And", same_TT, body.op("GreaterOrEqual", back_TT, none))
    seen_TT = body.op("And", before, near)

    heads, one = body.unsqueeze(body.integer("heads"), 0), body.integers(1)
    row = body.op("Concat", heads, one, one, axis=0)
    far_TT = body.op("Neg", body.float32(back_TT))
    bias_HTT = body.op("Mul", body.op("Reshape", slopes_H, row), far_TT)
    bias_HTT = body.op("Where", seen_TT, bias_HTT, body.number(-np.inf))
    column = body.op("Concat", heads, body.op("Shape", positions_T), one, axis=0)
    sink_HT1 = body.op("Expand", body.op("Reshape", sinks_H, row), column)
    return body.op("Concat", bias_HTT, sink_HT1, axis=2)


def experts(activation: str) -> Callable[..., ir.Value]:
    """y = sum over the chosen of weight · down(act(gate x) * up x); every expert is computed."""

    def body_of(body: Body, x, index_TC, weight_TC, gate, up, down, gate_b, up_b, down_b):
        def through(x_TD: ir.Value, weight: ir.Value, bias: ir.Value) -> ir.Value:
            turned = body.op("Transpose", body.float32(weight), perm=[0, 2, 1])
            product = body.op("MatMul", x_TD, turned)
            return body.op("Add", product, body.float32(body.unsqueeze(bias, 1)))

        x_1TD = body.float32(body.unsqueeze(x, 0))
        gate_ETF, up_ETF = through(x_1TD, gate, gate_b), through(x_1TD, up, up_b)
        y_ETD = through(_hidden(body, activation, gate_ETF, up_ETF), down, down_b)
        zero, one = body.op("Constant", value_int=0), body.op("Constant", value_int=1)
        all_E = body.op("Range", zero, body.integer("count"), one)
        chosen_TCE = body.float32(body.op("Equal", body.unsqueeze(body.whole(index_TC), 2), all_E))
        shares_TCE = body.op("Mul", chosen_TCE, body.float32(body.unsqueeze(weight_TC, 2)))
        shares_TE = body.op("ReduceSum", shares_TCE, body.integers(1), keepdims=0)
        shares_ET1 = body.unsqueeze(body.op("Transpose", shares_TE, perm=[1, 0]), 2)
        y = body.op("ReduceSum", body.op("Mul", y_ETD, shares_ET1), body.integers(0), keepdims=0)
        return body.op("CastLike", y, x)

    return body_of


def _hidden(body: Body, activation: str, gate: ir.Value, up: ir.Value) -> ir.Value:
    if activation == "swiglu_oai":  # clamped, and up + 1
        limit = body.real("limit")
        gate = body.op("Min", gate, limit)
        up = body.op("Max", body.op("Min", up, limit), body.op("Neg", limit))
        steep = body.op("Sigmoid", body.op("Mul", gate, body.real("alpha")))
        return body.op("Mul", body.op("Mul", gate, steep), body.op("Add", up, body.number(1)))
    return body.op("Mul", body.op("Swish" if activation == "silu" else "Gelu", gate), up)


def _function(name: str, body_of: Callable, inputs: str, attributes: Mapping) -> ir.Function:
    values = [ir.val(x) for x in inputs.split()]
    body = Body()
    y = body_of(body, *values)
    graph = ir.Graph(values, [y], nodes=body.tape.nodes, opset_imports={"": OPSET}, name=name)
    declared = [ir.Attr(attribute, kind, None) for attribute, kind in attributes.items()]
    return ir.Function("ingot", name, graph=graph, attributes=declared)


_EXPERTS = (
    "x_TD index_TC weight_TC gate_EFD up_EFD down_EDF gate_EF up_EF down_ED",
    {"count": INT, "limit": FLOAT, "alpha": FLOAT},
)
_SIGNATURES = {
    "Rotate": (
        rotate,
        "x_TX cos_LR sin_LR positions_T",
        {"heads": INT, "interleaved": INT, "dims": INT},
    ),
    "Attention": (
        attention,
        "q_TX k_TY v_TY positions_T sequences_T slopes_H sinks_H",
        {"heads": INT, "groups": INT, "scale": FLOAT, "softcap": FLOAT, "window": INT},
    ),
    "Experts_silu": (experts("silu"), *_EXPERTS),
    "Experts_gelu": (experts("gelu"), *_EXPERTS),
    "Experts_swiglu_oai": (experts("swiglu_oai"), *_EXPERTS),
}
