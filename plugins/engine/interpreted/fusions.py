"""The rewrites of the CPU engine, in order. Each may find nothing to do."""

from __future__ import annotations

from onnx_ir.passes import common

from core import optional

from .computed_shapes import ComputedShapes
from .functions import FunctionBodies
from .inlining import InlinedFunctions
from .merging import GatedProduct, MergedProduct
from .norms import SummedNorm
from .products import (
    GroupScaledProduct,
    LinearProduct,
    ProductBias,
    TokenScaledProduct,
    WeightScaledProduct,
)
from .quantization import QuantizedAtOnce, TokenQuantization
from .rows import RowsEarlier


def fusions() -> list:
    """First products and their scales, then what is shared, then what follows one another."""
    steps = [
        InlinedFunctions(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        ComputedShapes(),
        TokenQuantization(),
        GroupScaledProduct(),
        TokenScaledProduct(),
        WeightScaledProduct(),
        LinearProduct(),
        ProductBias(),
        RowsEarlier(),
        GatedProduct(),
        MergedProduct(),
        SummedNorm(),
        QuantizedAtOnce(),
        FunctionBodies(),
    ]
    return [optional(step) for step in steps]
