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

from .product_weights import cut_columns, cut_rows
from .shares import Part, even
from .vocabulary import gather, unknown

if TYPE_CHECKING:
    from .tensor_pass import Work

Rule = Callable[["Work", ir.Node], str | None]
ATTENTION = ("Attention", "PagedAttention")


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
    """A norm of each head stays one; a norm over all of a row needs all of it."""
    part = work.parts.get(node.inputs[0])
    if part is None:
        return None
    found = node.attributes.get("axis")
    axis = -1 if found is None else found.as_int()
    if part.axis >= axis % len(node.inputs[0].shape):
        raise PlanError(
            f"{label(node)} normalises over all of {node.inputs[0].name}, of which every rank has "
            "a part: norms of q and k must be over one head each; use parallel=none"
        )
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


def rotate(work: Work, node: ir.Node) -> str | None:
    part = work.parts.get(node.inputs[0])
    if part is None:
        return None
    _scale_attribute(node, "heads", part)
    work.put(node.outputs[0], part)
    return f"of {node.attributes['heads'].as_int()} heads"


def attention(work: Work, node: ir.Node) -> str | None:
    """Query heads of the rank, and the key/value heads that they read; caches hold those only."""
    q, k, v = node.inputs[:3]
    if not all(value in work.parts for value in (q, k, v)):
        raise PlanError(
            f"{label(node)} ({operator(node)}): {', '.join(x.name for x in (q, k, v))} are not "
            "shared out: their products have other names than layers.N.attention.q_TF and so on"
        )
    heads, groups = work.parts[q], work.parts[k]
    for place, axis in ((len(node.inputs) - 2, 0), (len(node.inputs) - 1, 0)):
        if node.inputs[place].is_initializer():
            work.cuts.part(node, place, axis, heads.share)
    _scale_attribute(node, "heads", heads)
    _scale_attribute(node, "groups", groups)
    if node.op_type == "PagedAttention":
        for value in (*node.inputs[3:5], *node.outputs[1:3]):
            work.put(value, Part(1, groups.share))
    work.put(node.outputs[0], heads)
    count = groups.share.last - groups.share.first
    first, last = heads.share.first, heads.share.last
    return f"heads {first} to {last - 1} of {heads.share.units}, with {count} key/value heads"


def largest(work: Work, node: ir.Node) -> str | None:
    """The largest of a row of which every rank has a part: the largest of what they find."""
    part = work.parts.get(node.inputs[0])
    if part is None:
        return None
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    rank = len(node.inputs[0].shape)
    if (
        axes is None
        or not axes.is_initializer()
        or part.axis not in (axis % rank for axis in axes.const_value.numpy().tolist())
    ):
        raise unknown(node, node.inputs[0])
    work.meet(node.outputs[0], "max")
    return "the largest of all ranks, by ingot::AllReduce"


def quantize(work: Work, node: ir.Node) -> str | None:
    """QuantizeLinear, DequantizeLinear of activations; one scale a token belongs to all ranks."""
    part = work.parts.get(node.inputs[0])
    if part is None:
        return None
    found = node.attributes.get("axis")
    axis = (1 if found is None else found.as_int()) % len(node.inputs[0].shape)
    for place, value in enumerate(node.inputs[1:], 1):
        if value is None or not len(value.shape) or axis != part.axis:
            continue
        if not value.is_initializer() or len(value.shape) > 1:
            raise unknown(node, value)
        work.cuts.part(node, place, 0, part.share)
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


def _scale_attribute(node: ir.Node, name: str, part: Part) -> None:
    own = part.share.size(node.attributes[name].as_int(), label(node))
    node.attributes[name] = ir.AttrInt64(name, own)


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
