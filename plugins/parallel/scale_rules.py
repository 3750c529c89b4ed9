"""Quantization of activations of which every rank has a part. T tokens, D width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from .refusal import unknown

if TYPE_CHECKING:
    from .tensor_pass import Work


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
