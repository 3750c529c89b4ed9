"""What each op does with values of which a rank has a part. T tokens, D width, F width out.

A rule returns what became of its node, for the report, or None where nothing is to be said.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from core import weights
from core.command import PlanError
from core.spec import label, operator

from .head_rules import ATTENTION, attention, rotate
from .product_weights import cut_columns, cut_rows
from .refusal import unknown
from .scale_rules import largest, quantize
from .shares import Part, even
from .vocabulary import gather
from .wide_norm import wide_norm

if TYPE_CHECKING:
    from .tensor_pass import Work

Rule = Callable[["Work", ir.Node], str | None]


def product(work: Work, node: ir.Node) -> str | None:
    """x · wᵀ: this rank's rows of w where x is whole, its columns where x is a part."""
    x_TD = node.inputs[0]
    part = work.parts.get(x_TD)
    if node.inputs[1] in work.parts:
        raise unknown(node, node.inputs[1])
    if part is not None:
        if part.axis != len(x_TD.shape) - 1:
            raise unknown(node, x_TD)
        said = cut_columns(work.cuts, node, part.share)
        work.meet(node.outputs[0], "sum")
        return f"{said}; partial sums of {work.ranks} ranks meet in ingot::AllReduce"
    share = work.begins(node)
    if share is None:
        work.told.unlike.append((label(node), "the whole product stays on every rank"))
        return None
    said = cut_rows(work.cuts, node, share)
    work.put(node.outputs[0], Part(len(node.outputs[0].shape) - 1, share))
    return said


def elementwise(work: Work, node: ir.Node) -> str | None:
    """Parts of one share stay such a part; constants are cut like them."""
    held = [value for value in node.inputs if value in work.parts]
    if not held:
        return None
    output, rank = node.outputs[0], len(node.outputs[0].shape)
    aligned = {
        (rank - len(value.shape) + work.parts[value].axis, work.parts[value].share)
        for value in held
    }
    if len(aligned) > 1:
        raise PlanError(
            f"{label(node)} ({operator(node)}) mixes different parts of {held[0].name} and "
            f"{held[1].name}; use parallel=none"
        )
    [(axis, share)] = aligned
    for place, value in enumerate(node.inputs):
        if value is None or value in work.parts:
            continue
        own = axis - rank + len(value.shape)
        if own < 0 or value.shape[own] == 1:
            continue
        if not value.is_initializer():
            raise PlanError(
                f"{label(node)} ({operator(node)}) mixes {held[0].name}, of which every rank has a "
                f"part, with the whole of {value.name}; use parallel=none"
            )
        work.cuts.part(node, place, own, share)
    work.put(output, Part(axis, share))
    return None


def norm(work: Work, node: ir.Node) -> str | None:
    """A norm of each head stays one; one over all heads needs all ranks."""
    part = work.parts.get(node.inputs[0])
    if part is None:
        return None
    found = node.attributes.get("axis")
    axis = -1 if found is None else found.as_int()
    if part.axis >= axis % len(node.inputs[0].shape):
        return wide_norm(work, node, part)
    work.put(node.outputs[0], part)
    return None


def reshape(work: Work, node: ir.Node) -> str | None:
    """[T, H · K] as [T, H, K] and back: the target has the rank's heads."""
    x = node.inputs[0]
    part = work.parts.get(x)
    if part is None:
        return None
    target, rest = node.inputs[1], list(x.shape[1:])
    sizes = target.const_value.numpy().tolist() if target.is_initializer() else []
    whole = all(isinstance(size, int) for size in rest)
    if (
        part.axis != 1
        or not whole
        or len(sizes) < 2
        or sizes[0] not in (0, -1)
        or min(sizes[1:]) < 1
    ):
        raise unknown(node, x)
    own = [part.share.size(sizes[1], label(node)), *sizes[2:]]
    if prod(own) != prod(rest):
        raise unknown(node, x)
    work.cuts.numbers(node, 1, np.array([sizes[0], *own], np.int64))
    work.put(node.outputs[0], part)
    return None


def experts(work: Work, node: ir.Node) -> str | None:
    """Every rank has a part of each expert's width; the bias of `down` is one rank's alone."""
    gate_EFD, down_ED = node.inputs[3], node.inputs[8]
    share = even(gate_EFD.shape[1], work.rank, work.ranks, "ffn")
    for place, axis in ((3, 1), (4, 1), (5, 2), (6, 1), (7, 1)):
        work.cuts.part(node, place, axis, share)
    if work.rank:
        shape, dtype = tuple(down_ED.shape), down_ED.dtype.numpy()
        zeros = weights.constant(np.zeros(shape, dtype), down_ED.name)
        work.cuts.instead(node, 8, "zeros", lambda tensor: zeros)
    work.meet(node.outputs[0], "sum")
    start, stop = share.cut(gate_EFD.shape[1], gate_EFD.name)
    return f"{start} to {stop - 1} of each expert's width; partial sums meet in ingot::AllReduce"


ELEMENTWISE = (
    "Add", "Sub", "Mul", "Div", "Max", "Min", "Swish", "Sigmoid", "Gelu", "Relu", "Tanh", "Cast",
    "Abs", "Neg", "Clip",
)  # fmt: skip
RULES: dict[tuple[str, str], Rule] = {
    ("", "MatMul"): product,
    ("", "Gather"): gather,
    ("", "RMSNormalization"): norm,
    ("", "LayerNormalization"): norm,
    ("", "Reshape"): reshape,
    ("", "ReduceMax"): largest,
    ("", "QuantizeLinear"): quantize,
    ("", "DequantizeLinear"): quantize,
    ("ingot", "Rotate"): rotate,
    **{("", name): elementwise for name in ELEMENTWISE},
    **{("ingot", name): attention for name in ATTENTION},
}
