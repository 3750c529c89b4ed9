"""A norm over all heads, of which every rank has some: the ranks add up their squares.

y = x / sqrt(mean of squares + epsilon) in float32, rounded, times weight: RMSNormalization with
stash_type 1. T tokens, X all columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from core.command import PlanError
from core.spec import label

from .shares import Part

if TYPE_CHECKING:
    from .tensor_pass import Work

FLOAT = ir.DataType.FLOAT


def wide_norm(work: Work, node: ir.Node, part: Part) -> str:
    x_TX, weight_X = node.inputs[:2]
    if node.op_type != "RMSNormalization" or part.axis != len(x_TX.shape) - 1 or not part.axis:
        raise PlanError(
            f"{label(node)} normalises over all of {x_TX.name}, of which every rank has a part: "
            "parallel=tensor covers RMSNormalization there, or norms of one head each; use "
            "parallel=none"
        )
    stem, dims = node.outputs[0].name.rpartition("_")[::2]
    columns = x_TX.shape[-1] // (part.share.last - part.share.first) * part.share.units
    copies = work.ranks * (part.share.last - part.share.first) / part.share.units

    def op(op_type: str, inputs: list[ir.Value], name: str, **attributes) -> ir.Value:
        made = ir.node(op_type, inputs, attributes)
        made.outputs[0].name = f"{stem}.{name}"
        work.graph.insert_before(node, made)
        return made.outputs[0]

    def number(value: float, name: str) -> ir.Value:
        return work.constant(f"{stem}.{name}", np.array(value, np.float32))

    found = node.attributes.get("epsilon")
    epsilon = number(1e-5 if found is None else found.as_float(), "epsilon")
    last = work.constant("norm.last_axis", np.array([-1], np.int64))
    whole_TX = op("Cast", [x_TX], f"float_{dims}", to=int(FLOAT))
    squares = op("ReduceSum", [op("Mul", [whole_TX, whole_TX], f"square_{dims}"), last], "sum_T1")
    squares.type, squares.shape = ir.TensorType(FLOAT), ir.Shape([x_TX.shape[0], 1])
    mean = op("Div", [work.meet(squares, "sum"), number(columns * copies, "columns")], "mean_T1")
    root = op("Sqrt", [op("Add", [mean, epsilon], "above_T1")], "root_T1")
    unit_TX = op("Cast", [op("Div", [whole_TX, root], f"unit_{dims}")], f"rounded_{dims}",
                 to=int(x_TX.dtype))  # fmt: skip
    scaled = ir.node("Mul", [unit_TX, weight_X])
    ir.convenience.replace_nodes_and_values(
        work.graph, node, [node], [scaled], node.outputs, scaled.outputs
    )
    work.cuts.part(scaled, 1, 0, part.share)
    work.put(scaled.outputs[0], part)
    return f"over all heads: squares of {work.ranks} ranks meet in ingot::AllReduce"
