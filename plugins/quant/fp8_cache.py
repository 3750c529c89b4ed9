"""The pass that rounds keys and values to e4m3, which is what a cache of them then holds.

Paulius Micikevicius et al., "FP8 Formats for Deep Learning", arXiv:2209.05433, section 3. T tokens,
Y width of keys and of values.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from core import weights
from core.passes import Told
from core.spec import label

from .product_weight import named

CODES = ir.DataType.FLOAT8E4M3FN
SCALE = 1.0  # keys and values have a few units; e4m3 is as fine from 2**-6 to 448


class Fp8Cache(ir.passes.InPlacePass):
    """Attention(q, k_TY, v_TY, …)  ->  Attention(q, k', v', …)

    with x' = DequantizeLinear(QuantizeLinear(x_TY, 1), 1), codes in e4m3. It starts from
    ingot::Attention; what gives that a cache keeps the codes in it.
    """

    def call(self, model: ir.Model) -> Told:
        told, rounded = Told(model, modified=False), {}
        for node in list(model.graph):
            if node.op_identifier()[:2] != ("ingot", "Attention"):
                continue
            for place in (1, 2):
                x_TY = node.inputs[place]
                if x_TY not in rounded:
                    rounded[x_TY] = _rounded(model.graph, x_TY, node)
                node.replace_input_with(place, rounded[x_TY])
            told.rewritten.append((label(node), "keys and values in e4m3"))
        told.modified = bool(rounded)
        return told


def _rounded(graph: ir.Graph, x_TY: ir.Value, before: ir.Node) -> ir.Value:
    """x_TY through e4m3."""
    scale = graph.initializers.get("cache.scale")
    if scale is None:
        tensor = weights.constant(np.array(SCALE, np.float32), "cache.scale")
        scale = ir.val("cache.scale", const_value=tensor)
        graph.register_initializer(scale)
    quantize = ir.node("QuantizeLinear", [x_TY, scale], {"output_dtype": CODES})  # it saturates
    codes_TY = named(quantize.outputs[0], x_TY, "cache_codes")
    dequantize = ir.node("DequantizeLinear", [codes_TY, scale], {"output_dtype": x_TY.dtype})
    named(dequantize.outputs[0], x_TY, "cached")
    graph.insert_before(before, [quantize, dequantize])
    return dequantize.outputs[0]
