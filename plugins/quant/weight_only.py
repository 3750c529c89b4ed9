"""The rule that keeps a product's weight as integer codes with scales of groups along D.

T tokens, D width in, F width out, N groups of a row.
"""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from core import optional, weights
from core.command import ConfigError
from core.made_weight import CodesFormula

from .groups import Codes, quantized
from .name_patterns import NamePatterns, PatternsMatch
from .product_weight import named, refusal, stem


def weight_only(codes: Codes, group: int, skip: tuple[str, ...]) -> list:
    """The passes of quant=int8_wo and quant=int4_wo."""
    if group < 0 or group == 1:
        raise ConfigError(f"quant.group is {group}; it is 0 (one group a row), or 2 or more")
    patterns = NamePatterns("quant.skip", skip)
    check = optional(PatternsMatch(patterns))
    return [check, optional(GroupsFit(codes, group, patterns)), WeightOnly(codes, group, patterns)]


class WeightOnly(RewriteRuleClassBase):
    """MatMul(x_TD, Transpose(w_FD))

    ->  MatMul(x_TD, Transpose(DequantizeLinear(codes_FD, scale_FN, zero_FN, axis=1, block_size)))

    int8 with one group a row and no zero points is DequantizeLinear(codes_FD, scale_F, axis=0),
    with float32 scales. The other scales have the weight's type: there are many of them.
    """

    def __init__(self, codes: Codes, group: int, skip: NamePatterns):
        super().__init__()
        self.codes, self.group, self.skip = codes, group, skip

    def pattern(self, op, x_TD, w_FD):
        return op.MatMul(x_TD, op.Transpose(w_FD, perm=[1, 0]))

    def check(self, context, x_TD, w_FD, **_):
        reason = refusal(x_TD, w_FD, self.skip)
        return MatchResult().fail(reason, w_FD) if reason else MatchResult()

    def rewrite(self, op, x_TD, w_FD):
        width = w_FD.const_value.shape[1]
        group = self.group or width
        by_row = group == width and self.codes.bits == 8 and not self.codes.zero_point
        parts = [op.initializer(part, part.name) for part in self._quantized(w_FD, group, by_row)]
        form = {"axis": 0} if by_row else {"axis": 1, "block_size": group}
        w = op.DequantizeLinear(*parts, output_dtype=w_FD.const_value.dtype, **form)
        w_DF = op.Transpose(named(w, w_FD, "rounded"), perm=[1, 0])
        named(w_DF, w_FD, "turned", stem(w_FD)[1][::-1])
        return op.MatMul(x_TD, w_DF)

    def _quantized(self, w_FD: ir.Value, group: int, by_row: bool) -> list[weights.Weight]:
        """The weight's codes, scales and zero points, lazy."""
        tensor, codes, (head, dims) = w_FD.const_value, self.codes, stem(w_FD)
        rows, width = tensor.shape
        scale_dtype = ir.DataType.FLOAT if by_row else tensor.dtype
        outputs = [(f"{head}.codes_{dims}", codes.dtype, [rows, width])]
        if by_row:
            outputs.append((f"{head}.scale_{dims[:1]}", scale_dtype, [rows]))
        else:
            of_groups = [rows, width // group]
            outputs.append((f"{head}.scale_{dims[:1]}N", scale_dtype, of_groups))
            if codes.zero_point:
                outputs.append((f"{head}.zero_{dims[:1]}N", codes.dtype, of_groups))
        function = quantized(w_FD.name, self.skip.key, codes, group, scale_dtype, flat=by_row)
        kind = "asymmetric" if codes.zero_point else "symmetric"
        recipe = f"int{codes.bits}(group={group}, {kind})"
        formula = CodesFormula(codes.dtype, group, scale_dtype, codes.zero_point)
        return weights.derive(tensor, function, outputs, recipe, rows=1, formula=formula)


class GroupsFit(ir.passes.InPlacePass):
    """Changes nothing: refuses weights whose rows are no whole number of groups, all at once."""

    def __init__(self, codes: Codes, group: int, skip: NamePatterns):
        self.codes, self.group, self.skip = codes, group, skip

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        unfit: dict[int, list[str]] = {}
        for node in model.graph:
            turn = node.inputs[1].producer() if node.op_type == "MatMul" else None
            w_FD = turn.inputs[0] if turn is not None and turn.op_type == "Transpose" else None
            if w_FD is None or refusal(node.inputs[0], w_FD, self.skip):
                continue
            width = w_FD.const_value.shape[1]
            group = self.group or width
            if width % group or (self.codes.bits == 4 and width % 2):
                unfit.setdefault(width, []).append(w_FD.name)
        if unfit:
            raise ConfigError("\n".join(self._sentence(*item) for item in unfit.items()))
        return ir.passes.PassResult(model, modified=False)

    def _sentence(self, width: int, names: list[str]) -> str:
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        if self.codes.bits == 4 and width % 2:
            return (
                f"{names[0]}{others} has rows of {width}, which codes of 4 bits do not fill whole "
                "bytes with; choose quant=int8_wo, or add it to quant.skip"
            )
        fitting = [str(g) for g in (256, 128, 64, 32, 16, 8) if width % g == 0 and g <= width]
        return (
            f"quant.group={self.group} does not divide the rows of {width} of {names[0]}{others}; "
            f"choose {', '.join([*fitting, '0 (one group a row)'])}, or add it to quant.skip"
        )
