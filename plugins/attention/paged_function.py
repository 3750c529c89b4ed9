"""ingot::PagedAttention in standard ONNX: what it means, for onnxruntime and the reader.

Writes k and v of the step into their cells, then lets each token see the cells of its own sequence
at positions from its own - window + 1 to its own (window 0: from the first).
score = cap(scale * q · k) + slope * (position of k - position of q), in float32; a sink is one more
score with a zero value. With scales, the cache holds k / k_scale and v / v_scale.
T tokens, S sequences, P pages, W tokens per page, M pages per sequence, L = M · W, H query heads,
G key/value heads, K head size.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

OPSET = 24
INPUTS = (
    "q_TX", "k_TY", "v_TY", "cache_k_PGWK", "cache_v_PGWK", "pages_SM", "cells_T", "positions_T",
    "sequences_T", "slopes_H", "sinks_H",
)  # fmt: skip
SCALES = ("k_scale", "v_scale")
ATTRIBUTES = {
    "heads": ir.AttributeType.INT,
    "groups": ir.AttributeType.INT,
    "scale": ir.AttributeType.FLOAT,
    "softcap": ir.AttributeType.FLOAT,
    "window": ir.AttributeType.INT,
}


def paged_attention(scaled: bool = False) -> ir.Function:
    """(q, k, v, caches, pages, cells, …) -> y_TX and the two caches with the step written in."""
    inputs = [ir.val(name) for name in (*INPUTS, *SCALES[: 2 * scaled])]
    body = _Body()
    outputs = body.paged_attention(*inputs)
    for value, name in zip(outputs, ("y_TX", "new_k_PGWK", "new_v_PGWK"), strict=True):
        value.name = name
    graph = ir.Graph(
        inputs, outputs, nodes=body.tape.nodes, opset_imports={"": OPSET}, name="PagedAttention"
    )
    attributes = [ir.Attr(name, kind, None) for name, kind in ATTRIBUTES.items()]
    return ir.Function("ingot", "PagedAttention", graph=graph, attributes=attributes)


class _Body:
    """The nodes of the function, in order."""

    def __init__(self):
        self.tape = Tape()

    def op(self, op_type: str, *inputs: ir.Value, **attributes) -> ir.Value:
        return self.tape.op(op_type, inputs, attributes)

    def integers(self, *numbers: int) -> ir.Value:
        return self.op("Constant", value=ir.tensor(np.array(numbers, np.int64)))

    def number(self, value: float) -> ir.Value:
        return self.op("Constant", value=ir.tensor(np.array(value, np.float32)))

    def attribute(self, name: str) -> ir.Value:
        """The function's integer attribute as a vector of one."""
        value = ir.RefAttr("value_int", name, ir.AttributeType.INT)
        return self.op("Unsqueeze", self.op("Constant", value_int=value), self.integers(0))

    def shape(self, *parts: ir.Value) -> ir.Value:
        return self.op("Concat", *parts, axis=0)

    def paged_attention(
        self, q, k, v, cache_k, cache_v, pages_SM, cells_T, positions, sequences, slopes, sinks,
        k_scale=None, v_scale=None,
    ):  # fmt: skip
        T = self.op("Shape", positions)
        cells_T1 = self.op("Unsqueeze", self.whole(cells_T), self.integers(1))
        new_k = self.write(cache_k, self.over(k, k_scale), cells_T1, T)
        new_v = self.write(cache_v, self.over(v, v_scale), cells_T1, T)
        pages_TM = self.op("Gather", pages_SM, sequences)
        M, W = self.op("Shape", pages_SM, start=1), self.op("Shape", new_k, start=2, end=3)
        L = self.op("Mul", M, W)
        back_TL = self.back(positions, L)
        seen_TL = self.seen(back_TL)
        keys = self.times(self.read(new_k, pages_TM, seen_TL, T), k_scale)
        values = self.times(self.read(new_v, pages_TM, seen_TL, T), v_scale)
        bias = self.bias(back_TL, seen_TL, slopes, sinks, T)
        q_TH1K = self.op("Reshape", q, self.shape(T, self.attribute("heads"), self.integers(1, -1)))
        y = self.op(
            "Attention",
            self.op("Cast", q_TH1K, to=ir.DataType.FLOAT),
            keys,
            values,
            bias,
            scale=ir.RefAttr("scale", "scale", ir.AttributeType.FLOAT),
            softcap=ir.RefAttr("softcap", "softcap", ir.AttributeType.FLOAT),
        )
        y_TX = self.op("Reshape", y, self.shape(T, self.integers(-1)))
        return self.op("CastLike", y_TX, q), new_k, new_v

    def whole(self, x: ir.Value) -> ir.Value:
        return self.op("Cast", x, to=ir.DataType.INT64)

    def write(self, cache_PGWK, x_TY, cells_T1, T) -> ir.Value:
        """The cache after token t stands in cell cells_T[t] of it.

        By way of float32, which has the numbers of every type of cache: few runtimes move 8 bits.
        """
        cache_PGWK_float = self.op("Cast", cache_PGWK, to=ir.DataType.FLOAT)
        pages_PWGK = self.op("Transpose", cache_PGWK_float, perm=[0, 2, 1, 3])
        held = self.op("Shape", pages_PWGK)
        row = self.op("Shape", pages_PWGK, start=2)
        flat_CGK = self.op("Reshape", pages_PWGK, self.shape(self.integers(-1), row))
        x_TGK = self.op("Reshape", x_TY, self.shape(T, row))
        x_TGK = self.op("Cast", x_TGK, to=ir.DataType.FLOAT)
        written = self.op("ScatterND", flat_CGK, cells_T1, x_TGK)
        pages = self.op("Transpose", self.op("Reshape", written, held), perm=[0, 2, 1, 3])
        return self.op("CastLike", pages, cache_PGWK)

    def over(self, x: ir.Value, scale: ir.Value | None) -> ir.Value:
        """x / scale, in float32."""
        if scale is None:
            return x
        return self.op("Div", self.op("Cast", x, to=ir.DataType.FLOAT), scale)

    def times(self, x: ir.Value, scale: ir.Value | None) -> ir.Value:
        return x if scale is None else self.op("Mul", x, scale)

    def back(self, positions_T, L) -> ir.Value:
        """How far each cell of its sequence lies behind each token."""
        zero = self.op("Constant", value_int=0)
        length = self.op("Squeeze", L, self.integers(0))
        cells_L = self.op("Range", zero, length, self.op("Constant", value_int=1))
        own_T1 = self.op("Unsqueeze", self.whole(positions_T), self.integers(1))
        return self.op("Sub", own_T1, cells_L)

    def seen(self, back_TL) -> ir.Value:
        window = self.attribute("window")
        zero = self.integers(0)
        near = self.op("Or", self.op("Equal", window, zero), self.op("Less", back_TL, window))
        return self.op("And", self.op("GreaterOrEqual", back_TL, zero), near)

    def read(self, cache_PGWK, pages_TM, seen_TL, T) -> ir.Value:
        """[T, G, L + 1, K] in float32: what each token sees, zero elsewhere, and zero for the sink.

        Zero, since 0 · x is no zero where an old page holds an infinity.
        """
        cache_PGWK = self.op("Cast", cache_PGWK, to=ir.DataType.FLOAT)
        x_TMGWK = self.op("Gather", cache_PGWK, pages_TM)
        x_TGMWK = self.op("Transpose", x_TMGWK, perm=[0, 2, 1, 3, 4])
        ends = self.op("Shape", cache_PGWK, start=1, end=2), self.op("Shape", cache_PGWK, start=3)
        x_TGLK = self.op("Reshape", x_TGMWK, self.shape(T, ends[0], self.integers(-1), ends[1]))
        seen = self.op("Unsqueeze", seen_TL, self.integers(1, 3))
        x_TGLK = self.op("Where", seen, x_TGLK, self.number(0))
        return self.op("Pad", x_TGLK, self.integers(0, 0, 0, 0, 0, 0, 1, 0), self.number(0))

    def bias(self, back_TL, seen_TL, slopes_H, sinks_H, T) -> ir.Value:
        """[T, H, 1, L + 1]: what is added to each score."""
        one, H = self.integers(1), self.attribute("heads")
        row = self.shape(one, H, one)
        far_TL = self.op("Neg", self.op("Cast", back_TL, to=ir.DataType.FLOAT))
        far_T1L = self.op("Unsqueeze", far_TL, one)
        slope_THL = self.op("Mul", self.op("Reshape", slopes_H, row), far_T1L)
        seen_T1L = self.op("Unsqueeze", seen_TL, one)
        bias_THL = self.op("Where", seen_T1L, slope_THL, self.number(-np.inf))
        sink_TH1 = self.op("Expand", self.op("Reshape", sinks_H, row), self.shape(T, H, one))
        bias = self.op("Concat", bias_THL, sink_TH1, axis=2)
        return self.op("Unsqueeze", bias, self.integers(2))
