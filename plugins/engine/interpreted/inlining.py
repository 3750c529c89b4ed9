"""Functions of the model that the engine has no op for are written out where they are called."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from core.ops import Rows
from core.passes import Told


class InlinedFunctions(ir.passes.InPlacePass):
    """f(x)  ->  the body of f, for every function of the model that is no row of the op table."""

    def call(self, model: ir.Model) -> Told:
        rows, told = Rows(), Told(model, modified=False)

        def strange(function: ir.Function) -> bool:
            return rows.row(function.domain, function.name) is None

        calls = [
            (node.outputs[0].name, f"the body of {node.domain}::{node.op_type}")
            for node in model.graph
            if (function := model.functions.get(node.op_identifier())) and strange(function)
        ]
        if not calls:
            return told
        for function in model.functions.values():
            _number(function)
        common.InlinePass(strange)(model)
        told.rewritten, told.modified = calls, True
        return told


def _number(function: ir.Function) -> None:
    """Every value of the body has a name that stays legal in the graph."""
    for place, node in enumerate(function):
        for value in node.outputs:
            if value.name is None or not value.name:
                value.name = f"{function.name}_{place}"
