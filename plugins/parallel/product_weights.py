"""The weight of a product, cut through what stands between it and the product.

x · Transpose(w_FD) with w_FD a constant, or DequantizeLinear(codes_FD, scale, zero points), or a
Cast of that. Scales and zero points go with the rows or groups that they belong to; those of
whole rows stay when columns are cut, and one for all stays.
"""

from __future__ import annotations

import onnx_ir as ir

from core.command import PlanError
from core.spec import label, operator

from .cuts import Cuts
from .shares import Share


def cut_rows(cuts: Cuts, node: ir.Node, share: Share) -> str:
    return _cut(cuts, node, 0, share)


def cut_columns(cuts: Cuts, node: ir.Node, share: Share) -> str:
    return _cut(cuts, node, 1, share)


def _cut(cuts: Cuts, product: ir.Node, axis: int, share: Share) -> str:
    """What was cut, in words; axis 0 is out, 1 is in."""
    turn = product.inputs[1].producer()
    if turn is None or turn.op_type != "Transpose" or turn.attributes["perm"].as_ints() != (1, 0):
        raise _strange(product, product.inputs[1])
    reader, value = turn, turn.inputs[0]
    while (node := value.producer()) is not None and node.op_type == "Cast":
        _resize(value, axis, share)
        reader, value = node, node.inputs[0]
    if node is not None:
        if node.op_type != "DequantizeLinear" or node.domain:
            raise _strange(product, value)
        _resize(value, axis, share)
        value = _cut_codes(cuts, node, axis, share)
    elif value.is_initializer():
        cuts.part(reader, reader.inputs.index(value), axis, share)
    else:
        raise _strange(product, value)
    _resize(turn.outputs[0], 1 - axis, share)
    size = value.const_value.shape[axis]
    start, stop = share.cut(size, value.name)
    return f"{('rows', 'columns')[axis]} {start} to {stop - 1} of {size} of {value.name}"


def _cut_codes(cuts: Cuts, node: ir.Node, axis: int, share: Share) -> ir.Value:
    """The codes of a DequantizeLinear, cut with what makes numbers of them."""
    codes = node.inputs[0]
    if not all(value is None or value.is_initializer() for value in node.inputs):
        raise _strange(node, codes)
    size = codes.const_value.shape[axis]
    start, stop = share.cut(size, codes.name)
    cuts.part(node, 0, axis, share)
    found = node.attributes.get("axis")
    along = (1 if found is None else found.as_int()) % 2
    block = node.attributes.get("block_size")
    block = 0 if block is None else block.as_int()
    if block == size and axis == along:  # one group is all of a row, and so it stays
        node.attributes["block_size"] = ir.AttrInt64("block_size", stop - start)
        return codes
    for place, value in enumerate(node.inputs[1:], 1):
        if value is None:
            continue
        shape = value.const_value.shape
        if len(shape) == 2:
            each = block if axis == along and block else 1
            if start % each or stop % each:
                raise PlanError(
                    f"{codes.name} has one scale for {each} weights, but a rank has {stop - start} "
                    f"of {size} columns, so groups would straddle ranks; use groups that divide "
                    "that, or fewer ranks"
                )
            cuts.entries(node, place, axis, start // each, stop // each)
        elif len(shape) == 1 and along == axis and shape[0] != 1:
            cuts.part(node, place, 0, share)
    return codes


def _resize(value: ir.Value, axis: int, share: Share) -> None:
    if value.shape is not None and isinstance(value.shape[axis], int):
        sizes = list(value.shape)
        sizes[axis] = share.size(sizes[axis], value.name)
        value.shape = ir.Shape(sizes)


def _strange(node: ir.Node, value: ir.Value) -> PlanError:
    maker = value.producer()
    how = "is no constant" if maker is None else f"is made by {operator(maker)}"
    return PlanError(
        f"{label(node)}: its weight {value.name} {how}; parallel=tensor cuts constants and "
        "DequantizeLinear of constants; use parallel=none, or another quant"
    )
