"""NF4 weights: one of 16 levels per weight, times a scale shared by a block of weights.

Dettmers et al., "QLoRA", arXiv:2305.14314, section 3 and appendix E.
Dimensions: T tokens, D input features, F output features, N blocks, B weights per block.
"""

from dataclasses import field
from functools import partial
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from core import hookimpl, plugin
from core.weights import derive

LEVELS = np.float32([
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
])  # fmt: skip


@plugin
class Nf4:
    """The fields are the keys of conf/quant/nf4.yaml."""

    api: ClassVar[int] = 1
    block: int = 64
    skip: list[str] = field(default_factory=lambda: ["head_VD"])

    @hookimpl
    def passes(self):
        return [Nf4Weight(self.block, tuple(self.skip))]


class Nf4Weight(RewriteRuleClassBase):
    """x_TD @ w_FDᵀ, w constant  ->  x_TD @ (LEVELS[codes_FNB] * scale_FN1 as [F, D])ᵀ."""

    def __init__(self, block, skip):
        super().__init__("quant.nf4")
        self.block, self.skip = block, skip

    def pattern(self, op, x_TD, w_FD):
        return op.MatMul(x_TD, op.Transpose(w_FD, perm=[1, 0], _outputs=["w_DF"]))

    def check(self, context, w_FD, **_):
        result = MatchResult()
        if w_FD.const_value is None:
            return result.fail("the right operand is not a constant", w_FD)
        if w_FD.name.endswith(self.skip):
            return result.fail(f"{w_FD.name} is listed in quant.skip", w_FD)
        D = w_FD.shape[1]
        if D % self.block:
            return result.fail(f"{w_FD.name}: D={D} is not a multiple of block={self.block}", w_FD)
        return result

    def rewrite(self, op, x_TD, w_FD, **_):
        F, D = w_FD.shape
        N, B, name = D // self.block, self.block, w_FD.name
        codes_FNB, scale_FN1 = derive(
            w_FD.const_value,
            partial(encode, block=B),
            outputs=[
                (f"{name}.codes", ir.DataType.UINT8, [F, N, B]),
                (f"{name}.scale", ir.DataType.FLOAT, [F, N, 1]),
            ],
            recipe=f"nf4(block={B})",
            rows=1,
        )
        levels = op.initializer(ir.tensor(LEVELS, name=f"{name}.levels"))
        shape = op.initializer(ir.tensor(np.int64([F, D]), name=f"{name}.shape"))
        index_FNB = op.Cast(op.initializer(codes_FNB), to=ir.DataType.INT32)
        values_FNB = op.Mul(op.Gather(levels, index_FNB), op.initializer(scale_FN1))
        values_FD = op.Reshape(values_FNB, shape)
        if x_TD.dtype != ir.DataType.FLOAT:
            values_FD = op.Cast(values_FD, to=x_TD.dtype)
        return op.MatMul(x_TD, op.Transpose(values_FD, perm=[1, 0]))


def encode(w_FD, block):
    """(codes_FNB, scale_FN1) of some rows of a weight: the nearest level, the largest magnitude."""
    w_FNB = np.asarray(w_FD, np.float32).reshape(len(w_FD), -1, block)
    scale_FN1 = np.abs(w_FNB).max(axis=2, keepdims=True)
    unit_FNB = w_FNB / np.where(scale_FN1 == 0, 1, scale_FN1)
    codes_FNB = np.searchsorted((LEVELS[1:] + LEVELS[:-1]) / 2, unit_FNB)
    return codes_FNB.astype(np.uint8), scale_FN1
