"""Which products' weights can be quantized, and what the parts of one are called."""

from __future__ import annotations

import onnx_ir as ir

from .name_patterns import NamePatterns

FLOATS = (ir.DataType.FLOAT, ir.DataType.BFLOAT16, ir.DataType.FLOAT16)
NARROWEST = 16  # rows or columns; fewer are not worth their scales, and no fast product takes them


def refusal(x_TD: ir.Value, w_FD: ir.Value, skip: NamePatterns) -> str | None:
    """Why the weight of MatMul(x_TD, Transpose(w_FD)) stays as it is, or None."""
    w, tensor = w_FD.name, w_FD.const_value
    if tensor is None:
        return f"{w} is not a constant"
    if pattern := skip.chosen_by(w):
        return f"{w} keeps its precision: {skip.key} has {pattern}"
    if tensor.dtype not in FLOATS:
        return f"{w} is {tensor.dtype}, not floating"
    if len(tensor.shape) != 2 or x_TD.shape is None or len(x_TD.shape) != 2:
        return f"{x_TD.name} and {w} are not two matrices"
    if min(tensor.shape) < NARROWEST:
        return f"{w} is {list(tensor.shape)}, narrower than {NARROWEST}"
    others = [node for node in w_FD.consumers() if node.op_type != "Transpose"]
    if others:
        readers = ", ".join(f"{node.op_type} {node.outputs[0].name}" for node in others)
        return f"{w} is also read by {readers}, so both forms would be kept"
    return None


def stem(value: ir.Value) -> tuple[str, str]:
    """A name without its dimensions, and these."""
    head, _, dims = value.name.rpartition("_")
    return (head, dims) if head and dims.isupper() else (value.name, "FD")


def named(value: ir.Value, of: ir.Value, part: str, dims: str | None = None) -> ir.Value:
    """`value`, called after the value that it is made of."""
    head, own = stem(of)
    value.name = f"{head}.{part}_{dims or own}"
    return value
