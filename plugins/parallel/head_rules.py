"""What rotations and attention do with the heads of a rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from core.command import PlanError
from core.spec import label, operator

from .shares import Part

if TYPE_CHECKING:
    from .tensor_pass import Work

ATTENTION = {"Attention": 5, "PagedAttention": 9}  # by op: the place of slopes_H, before sinks_H


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
    slopes = ATTENTION[node.op_type]
    for place in (slopes, slopes + 1):
        if node.inputs[place].is_initializer():
            work.cuts.part(node, place, 0, heads.share)
    _scale_attribute(node, "heads", heads)
    _scale_attribute(node, "groups", groups)
    if node.op_type == "PagedAttention":
        for value in (*node.inputs[3:5], *node.outputs[1:3]):
            work.put(value, Part(1, groups.share))
    work.put(node.outputs[0], heads)
    count = groups.share.last - groups.share.first
    first, last = heads.share.first, heads.share.last
    return f"heads {first} to {last - 1} of {heads.share.units}, with {count} key/value heads"


def _scale_attribute(node: ir.Node, name: str, part: Part) -> None:
    own = part.share.size(node.attributes[name].as_int(), label(node))
    node.attributes[name] = ir.AttrInt64(name, own)
