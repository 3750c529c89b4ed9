"""What a cache holds of keys or values: themselves, or codes that quantization made of them.

T tokens, Y width of keys and of values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from core import weights

CODES = (ir.DataType.FLOAT8E4M3FN,)
ONE = "cache.one"


@dataclass(frozen=True)
class CacheRow:
    """What a token's k or v is where a cache takes it in."""

    value: ir.Value  # x_TY, not quantized
    dtype: ir.DataType | None  # of the cache
    scale: ir.Value | None = None  # the cache holds x / scale; a scalar; None: x

    @property
    def is_scaled(self) -> bool:
        return self.scale is not None


def rows_of(node: ir.Node) -> tuple[CacheRow, CacheRow]:
    """Of k and v of an ingot::Attention; both caches have one type."""
    k, v = (_row_of(x_TY) for x_TY in node.inputs[1:3])
    if k.dtype == v.dtype:
        return k, v
    return tuple(CacheRow(x_TY, x_TY.dtype) for x_TY in node.inputs[1:3])


def _row_of(x_TY: ir.Value) -> CacheRow:
    """The codes where x_TY is DequantizeLinear(QuantizeLinear(x, scale), scale), else x_TY.

    One scale for all and no zero point, since that is what ingot::PagedAttention takes.
    """
    back = x_TY.producer()
    there = back.inputs[0].producer() if _is(back, "DequantizeLinear") else None
    if not _is(there, "QuantizeLinear") or there.inputs[1] is not back.inputs[1]:
        return CacheRow(x_TY, x_TY.dtype)
    scale, codes = there.inputs[1], there.outputs[0]
    if len(there.inputs) > 2 or len(back.inputs) > 2 or codes.dtype not in CODES:
        return CacheRow(x_TY, x_TY.dtype)
    if not scale.is_initializer() or len(scale.shape) or scale.dtype != ir.DataType.FLOAT:
        return CacheRow(x_TY, x_TY.dtype)
    return CacheRow(there.inputs[0], codes.dtype, None if _is_one(scale) else scale)


def one(graph: ir.Graph) -> ir.Value:
    """The scale of a row that needs none, where others have theirs."""
    found = graph.initializers.get(ONE)
    if found is None:
        found = ir.val(ONE, const_value=weights.constant(np.array(1, np.float32), ONE))
        graph.register_initializer(found)
    return found


def _is(node: ir.Node | None, op_type: str) -> bool:
    return node is not None and node.op_identifier()[:2] == ("", op_type)


def _is_one(scale: ir.Value) -> bool:
    """Whether it is a constant of this build that holds 1; no pass reads the checkpoint."""
    tensor = scale.const_value
    known = isinstance(tensor, weights.Weight) and tensor.recipe.startswith("constant(")
    return known and float(tensor.numpy()) == 1
