"""features=[hidden]: the step function also gives the rows that the head reads, by name.

N rows that want logits, D width.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from core import hookimpl, plugin
from core.passes import Told

READ_BY_HEAD = ("head_in_TE", "norm_ND", "rows_ND")  # the last of these that a model has


@plugin
class Hidden:
    api: ClassVar[int] = 1

    @hookimpl
    def passes(self):
        return [HiddenRows()]


class HiddenRows(ir.passes.InPlacePass):
    """y_ND, which the head reads  ->  y_ND, and the output hidden_ND = Cast(y_ND) in float32."""

    def call(self, model: ir.Model) -> Told:
        told = Told(model, modified=False)
        values = {value.name: value for node in model.graph for value in node.outputs}
        found = next((values[name] for name in READ_BY_HEAD if name in values), None)
        if found is None:
            told.unlike.append(("the graph", f"it has no value {' or '.join(READ_BY_HEAD)}"))
            return told
        node = ir.node("Cast", [found], {"to": ir.DataType.FLOAT})
        hidden = node.outputs[0]
        hidden.name, hidden.shape = "hidden_ND", found.shape
        hidden.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.append(node)
        model.graph.outputs.append(hidden)
        told.rewritten.append((found.name, "also the output hidden_ND"))
        told.modified = True
        return told
