"""Tables of tokens, of which every rank has the rows of its own part of the vocabulary.

A rank gives zeros for tokens that are not its own, and the sum over all ranks is the row: exactly,
since all but one are zero. T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from .refusal import unknown
from .shares import even

if TYPE_CHECKING:
    from .tensor_pass import Work

TABLES = ("embedding_VD", "head_VD")


def gather(work: Work, node: ir.Node) -> str | None:
    """Gather(table_VD, ids_T)  ->  AllReduce(Where(own, Gather(part_VD, Clip(ids - first)), 0))"""
    table_VD, ids_T = node.inputs
    if table_VD.name not in TABLES or not table_VD.is_initializer():
        if held := [value for value in node.inputs if value in work.parts]:
            raise unknown(node, held[0])
        return None
    size, name = table_VD.const_value.shape[0], node.outputs[0].name
    share = even(size, work.rank, work.ranks, "vocab")
    start, stop = share.cut(size, table_VD.name)
    near_T, own_T1 = _places(work, node, ids_T, start, stop)
    work.cuts.part(node, 0, 0, share)
    node.replace_input_with(1, near_T)
    work.meet(_own_rows(work, node, own_T1), "sum")
    return f"rows {start} to {stop - 1} of {size} of {table_VD.name}; ingot::AllReduce has {name}"


def _places(work: Work, node: ir.Node, ids_T, start: int, stop: int) -> tuple[ir.Value, ir.Value]:
    """near_T, a row of this rank's part for every token; own_T1, whether it is the token's."""
    dtype, stem = ids_T.dtype.numpy(), node.outputs[0].name.rpartition("_")[0]

    def op(op_type: str, inputs: list[ir.Value], name: str) -> ir.Value:
        made = ir.node(op_type, inputs)
        made.outputs[0].name = f"{stem}.{name}"
        work.graph.insert_before(node, made)
        return made.outputs[0]

    first = work.constant("vocab.first", np.array(start, dtype))
    zero = work.constant("vocab.zero", np.array(0, dtype))
    last = work.constant("vocab.last", np.array(stop - start - 1, dtype))
    local_T = op("Sub", [ids_T, first], "local_T")
    near_T = op("Clip", [local_T, zero, last], "near_T")
    own_T = op("Equal", [near_T, local_T], "own_T")
    axis = work.constant("vocab.axis", np.array([1], np.int64))
    return near_T, op("Unsqueeze", [own_T, axis], "own_T1")


def _own_rows(work: Work, node: ir.Node, own_T1: ir.Value) -> ir.Value:
    """What `node` found, with zeros for others' tokens, under its name."""
    row_TD, name = node.outputs[0], node.outputs[0].name
    nothing = work.constant("vocab.nothing", np.array(0, row_TD.dtype.numpy()))
    chosen = ir.node("Where", [own_T1, row_TD, nothing])
    [y_TD] = chosen.outputs
    row_TD.name, y_TD.name = f"{name.rpartition('_')[0]}.near_TD", name
    y_TD.type, y_TD.shape = row_TD.type, row_TD.shape
    for use in list(row_TD.uses()):
        if use.node is not chosen:
            use.node.replace_input_with(use.idx, y_TD)
    work.graph.insert_after(node, chosen)
    return y_TD
