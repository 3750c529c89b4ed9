"""The rule that makes a product one of e4m3 numbers, in QuantizeLinear and DequantizeLinear.

T tokens, D width in, F width out.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from core import weights
from core.made_weight import CodesFormula

from .fp8_codes import LARGEST, SMALLEST_SCALE, quantized
from .name_patterns import NamePatterns
from .product_weight import named, refusal, stem

CODES = ir.DataType.FLOAT8E4M3FN
FLOAT = ir.DataType.FLOAT


class Fp8Product(RewriteRuleClassBase):
    """MatMul(x_TD, Transpose(w_FD))  ->  MatMul(x', Transpose(DequantizeLinear(codes_FD, scale)))

    with x' = x_TD, or DequantizeLinear(QuantizeLinear(x_TD, scale_T), scale_T) where
    scale_T = Max(ReduceMax(Abs(x_TD)) / 448, 1e-12). Products of one x share its codes.
    """

    def __init__(self, skip: NamePatterns, per_tensor: bool, per_token: bool):
        super().__init__()
        self.skip, self.per_tensor, self.per_token = skip, per_tensor, per_token

    def pattern(self, op, x_TD, w_FD):
        return op.MatMul(x_TD, op.Transpose(w_FD, perm=[1, 0]))

    def check(self, context, x_TD, w_FD, **_):
        reason = refusal(x_TD, w_FD, self.skip)
        return MatchResult().fail(reason, w_FD) if reason else MatchResult()

    def rewrite(self, op, x_TD, w_FD):
        codes_FD, scale = self._quantized(op, w_FD)
        axis = {} if self.per_tensor else {"axis": 0}
        dtype = w_FD.const_value.dtype
        w = op.DequantizeLinear(codes_FD, scale, output_dtype=dtype, **axis)
        w_DF = op.Transpose(named(w, w_FD, "rounded"), perm=[1, 0])
        named(w_DF, w_FD, "turned", stem(w_FD)[1][::-1])
        if self.per_token:
            x_TD = _found(x_TD) or _quantized_tokens(op, x_TD)
        return op.MatMul(x_TD, w_DF)

    def _quantized(self, op, w_FD) -> tuple[ir.Value, ir.Value]:
        """The weight's codes and scale, lazy, as initializers."""
        tensor, (head, dims) = w_FD.const_value, stem(w_FD)
        rows, width = tensor.shape
        scale = (f"{head}.scale", FLOAT, []) if self.per_tensor else (
            f"{head}.scale_{dims[:1]}", FLOAT, [rows],
        )  # fmt: skip
        made = weights.derive(
            tensor,
            quantized(w_FD.name, self.per_tensor),
            [(f"{head}.codes_{dims}", CODES, list(tensor.shape)), scale],
            f"fp8(scale={'tensor' if self.per_tensor else 'channel'})",
            rows=None if self.per_tensor else 1,
            formula=None if self.per_tensor else CodesFormula(CODES, width, FLOAT),
        )
        return tuple(op.initializer(weight, weight.name) for weight in made)


def _quantized_tokens(op, x_TD: ir.Value) -> ir.Value:
    """x_TD through e4m3, with one scale a token."""
    size_TD = named(op.Abs(x_TD), x_TD, "size")
    last = _shared(op, x_TD, "fp8.last_axis", np.array([-1], np.int64))
    largest_T = named(op.ReduceMax(size_TD, last, keepdims=0), x_TD, "largest", "T")
    if x_TD.dtype != FLOAT:
        largest_T = named(op.Cast(largest_T, to=FLOAT), x_TD, "largest_float", "T")
    over_T = op.Div(largest_T, _shared(op, x_TD, "fp8.largest", np.array(LARGEST)))
    named(over_T, x_TD, "over", "T")
    scale_T = op.Max(over_T, _shared(op, x_TD, "fp8.smallest_scale", np.array(SMALLEST_SCALE)))
    named(scale_T, x_TD, "scale", "T")
    codes_TD = op.QuantizeLinear(x_TD, scale_T, axis=0, output_dtype=CODES)  # it saturates
    named(codes_TD, x_TD, "codes")
    rounded_TD = op.DequantizeLinear(codes_TD, scale_T, axis=0, output_dtype=x_TD.dtype)
    return named(rounded_TD, x_TD, "rounded")


def _found(x_TD: ir.Value) -> ir.Value | None:
    """x_TD through e4m3, where an earlier product of it wrote that."""
    head, dims = stem(x_TD)
    for node in x_TD.consumers():
        if node.op_type == "QuantizeLinear" and node.outputs[0].name == f"{head}.codes_{dims}":
            [dequantize] = node.outputs[0].consumers()
            return dequantize.outputs[0]
    return None


def _shared(op, near: ir.Value, name: str, array: np.ndarray) -> ir.Value:
    """One initializer for all products."""
    there = near.graph.initializers.get(name) if near.graph is not None else None
    return there if there is not None else op.initializer(weights.constant(array, name), name)
