"""Products of activations and constant weights, as Linear or, with scales, as ScaledLinear or
GroupedLinear.

T tokens, D width in, F width out.
"""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from core import weights

from .fusion import DOMAIN, Fusion, Refused, Unlike, attribute, only_reader, producer

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
CODES = (ir.DataType.FLOAT8E4M3FN, ir.DataType.INT8)
GROUPED_CODES = (ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT8)
PRODUCTS = ("Linear", "ScaledLinear", "GroupedLinear")


class LinearProduct(RewriteRuleClassBase):
    """MatMul(x_TD, Transpose(w_FD))  ->  Linear(x_TD, w_FD)"""

    def __init__(self):
        super().__init__(remove_nodes=False)  # other products may read the same transposed weight

    def pattern(self, op, x_TD, w_FD):
        return op.MatMul(x_TD, op.Transpose(w_FD, perm=[1, 0]))

    def check(self, context, x_TD, w_FD, **_):
        result = _constant_matrix(w_FD, FLOATS) or _matrix(x_TD)
        if result is None and x_TD.dtype != w_FD.const_value.dtype:
            result = f"{x_TD.name} is {x_TD.dtype}, {w_FD.name} is {w_FD.const_value.dtype}"
        return MatchResult().fail(result, w_FD) if result else MatchResult()

    def rewrite(self, op, x_TD, w_FD):
        return op.Linear(x_TD, w_FD, _domain=DOMAIN)


class TokenScaledProduct(RewriteRuleClassBase):
    """MatMul(DequantizeLinear(codes_TD, s_T), Transpose(DequantizeLinear(w_FD, s)))

    ->  ScaledLinear(codes_TD, s_T, w_FD, s), where (codes_TD, s_T) is a QuantizeToken, or codes_TD
    a QuantizeLinear of scales that were found otherwise: over several ranks.
    """

    def __init__(self):
        super().__init__(remove_nodes=False)  # other products of x_TD read its codes too

    def pattern(self, op, codes_TD, scale_T, w_FD, scale):
        x_TD = op.DequantizeLinear(codes_TD, scale_T, axis=0)
        rounded_FD = op.DequantizeLinear(
            w_FD, scale, _allow_other_inputs=True, _outputs=["rounded_FD"]
        )
        turned_DF = op.Transpose(rounded_FD, perm=[1, 0])
        return op.MatMul(x_TD, turned_DF, _outputs=["y_TF"])

    def check(self, context, codes_TD, scale_T, w_FD, scale, rounded_FD, **_):
        result = _scaled_weight(w_FD, scale, rounded_FD)
        if result is None and not _scaled_tokens(codes_TD, scale_T):
            result = f"{codes_TD.name} has no scale for each token, found as it runs"
        return MatchResult().fail(result, w_FD) if result else MatchResult()

    def rewrite(self, op, codes_TD, scale_T, w_FD, scale, y_TF, **_):
        dtype = int(y_TF.dtype)
        return op.ScaledLinear(codes_TD, scale_T, w_FD, scale, dtype=dtype, _domain=DOMAIN)


class WeightScaledProduct(RewriteRuleClassBase):
    """MatMul(x_TD, Transpose(DequantizeLinear(w_FD, s)))  ->  ScaledLinear(x_TD, -, w_FD, s)"""

    def __init__(self):
        super().__init__(remove_nodes=False)

    def pattern(self, op, x_TD, w_FD, scale):
        rounded_FD = op.DequantizeLinear(
            w_FD, scale, _allow_other_inputs=True, _outputs=["rounded_FD"]
        )
        return op.MatMul(x_TD, op.Transpose(rounded_FD, perm=[1, 0]), _outputs=["y_TF"])

    def check(self, context, x_TD, w_FD, scale, rounded_FD, **_):
        result = _scaled_weight(w_FD, scale, rounded_FD) or _matrix(x_TD)
        return MatchResult().fail(result, w_FD) if result else MatchResult()

    def rewrite(self, op, x_TD, w_FD, scale, y_TF, **_):
        return op.ScaledLinear(x_TD, None, w_FD, scale, dtype=int(y_TF.dtype), _domain=DOMAIN)


class GroupScaledProduct(RewriteRuleClassBase):
    """MatMul(x_TD, Transpose(DequantizeLinear(w_FD, s_FN, z_FN, axis=1, block_size)))

    ->  GroupedLinear(x_TD, w_FD, s_FN, z_FN), the zero points, which may be absent, as int8.
    """

    def __init__(self):
        super().__init__(remove_nodes=False)

    def pattern(self, op, x_TD, w_FD, scale):
        rounded_FD = op.DequantizeLinear(
            w_FD, scale, _allow_other_inputs=True, _outputs=["rounded_FD"]
        )
        return op.MatMul(x_TD, op.Transpose(rounded_FD, perm=[1, 0]), _outputs=["y_TF"])

    def check(self, context, x_TD, w_FD, scale, rounded_FD, **_):
        result = _grouped_weight(w_FD, scale, rounded_FD) or _matrix(x_TD)
        if result is None and rounded_FD.dtype != x_TD.dtype:
            result = f"{x_TD.name} is {x_TD.dtype}, {rounded_FD.name} is {rounded_FD.dtype}"
        return MatchResult().fail(result, w_FD) if result else MatchResult()

    def rewrite(self, op, x_TD, w_FD, scale, rounded_FD, **_):
        zero = []
        for given in [value for value in rounded_FD.producer().inputs[2:3] if value is not None]:
            as_int8 = weights.cast(
                weights.lazy(given), ir.DataType.INT8
            )  # a byte for each, however many
            zero.append(op.initializer(as_int8, given.name))
        return op.GroupedLinear(x_TD, w_FD, scale, *zero, _domain=DOMAIN)


class ProductBias(Fusion):
    """Add(Linear(x_TD, w_FD), b_F)  ->  Linear(x_TD, w_FD, b_F); the other products alike"""

    starts = (("", "Add"),)

    def fuse(self, node: ir.Node) -> str:
        y_TF, bias_F = node.inputs
        if producer(y_TF, *PRODUCTS, domain=DOMAIN) is None:
            y_TF, bias_F = bias_F, y_TF
        product = producer(y_TF, *PRODUCTS, domain=DOMAIN)
        if product is None or not bias_F.is_initializer():
            raise Unlike("it does not add a constant to a product")
        if list(bias_F.shape) != [y_TF.shape[-1]] or bias_F.dtype != y_TF.dtype:
            raise Refused(f"{bias_F.name} is {bias_F.dtype} {bias_F.shape}, not one per column")
        places = {"Linear": 2, "ScaledLinear": 4, "GroupedLinear": 4}[product.op_type]
        if len(product.inputs) > places:
            raise Refused(f"{y_TF.name} has a bias already")
        only_reader(y_TF, node)
        ir.convenience.replace_all_uses_with(node.outputs[0], y_TF, replace_graph_outputs=True)
        product.resize_inputs(places + 1)
        product.replace_input_with(places, bias_F)
        y_TF.name, name = node.outputs[0].name, y_TF.name
        node.outputs[0].name = name
        node.graph.remove(node, safe=True)
        return f"bias of {product.op_type}"


def _scaled_tokens(codes_TD: ir.Value, scale_T: ir.Value) -> bool:
    """Whether codes and scales belong together, one computed scale for each token."""
    if found := producer(codes_TD, "QuantizeToken", domain=DOMAIN):
        return found is scale_T.producer()
    found = producer(codes_TD, "QuantizeLinear")
    if found is None or found.inputs[1] is not scale_T or scale_T.producer() is None:
        return False
    plain = all(value is None for value in found.inputs[2:]) and codes_TD.dtype in CODES
    return plain and attribute(found, "axis", 1) == 0 and len(scale_T.shape) == 1


def _matrix(x_TD: ir.Value) -> str | None:
    if x_TD.shape is None or len(x_TD.shape) != 2:
        return f"{x_TD.name} is {x_TD.shape}, not a row for each token"
    return None


def _constant_matrix(w_FD: ir.Value, dtypes) -> str | None:
    """Why `w_FD` cannot be a weight, or None."""
    if not w_FD.is_initializer() or w_FD.const_value is None:
        return f"{w_FD.name or 'the weight'} is computed as it runs, not a constant"
    if len(w_FD.const_value.shape) != 2:
        return f"{w_FD.name} is {w_FD.const_value.shape}, not a matrix"
    if w_FD.const_value.dtype not in dtypes:
        return f"{w_FD.name} is {w_FD.const_value.dtype}"
    return None


def _scaled_weight(w_FD: ir.Value, scale: ir.Value, rounded_FD: ir.Value) -> str | None:
    """Why these are not codes with one scale a row or one for all, or None."""
    if result := _constant_matrix(w_FD, CODES):
        return result
    node = rounded_FD.producer()
    if len([value for value in node.inputs if value is not None]) > 2:
        return f"{w_FD.name} has zero points"
    if not scale.is_initializer() or scale.const_value.dtype != ir.DataType.FLOAT:
        return f"the scale of {w_FD.name} is no float32 constant"
    shape = list(scale.const_value.shape)
    if attribute(node, "block_size", 0) or (
        shape and (shape != [w_FD.const_value.shape[0]] or attribute(node, "axis", 1) % 2)
    ):
        return f"the scales of {w_FD.name} are {shape}, neither one a row nor one for all"
    return None


def _grouped_weight(w_FD: ir.Value, scale: ir.Value, rounded_FD: ir.Value) -> str | None:
    """Why these are not codes with a scale for each group along D, or None."""
    if result := _constant_matrix(w_FD, GROUPED_CODES):
        return result
    node, (rows, width) = rounded_FD.producer(), w_FD.const_value.shape
    group = attribute(node, "block_size", 0)
    if not group or attribute(node, "axis", 1) % 2 != 1:
        return f"the scales of {w_FD.name} do not belong to groups along D"
    shape = [rows, width // group]
    if width % group or (w_FD.const_value.dtype != ir.DataType.INT8 and width % 2):
        return f"{w_FD.name} has rows of {width}, no whole number of groups of {group} or of bytes"
    for value in [value for value in node.inputs[1:] if value is not None]:
        if not value.is_initializer() or list(value.const_value.shape) != shape:
            return f"{value.name or 'a scale'} is no constant of {shape}"
    if scale.const_value.dtype not in FLOATS:
        return f"{scale.name} is {scale.const_value.dtype}"
    return None
