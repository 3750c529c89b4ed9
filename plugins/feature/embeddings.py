"""features=[embeddings]: a prompt may be vectors instead of token ids.

T tokens, D width of the embedding table. A token whose id is -2 has a row of the step field
embeddings_TD instead of a row of the table; what the model does with rows of the table (scaling,
positions) it does with these, as transformers does with `inputs_embeds`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from core import hookimpl, plugin
from core.passes import Told


@plugin
class Embeddings:
    api: ClassVar[int] = 1

    @hookimpl
    def passes(self):
        return [EmbeddingsInput()]


class EmbeddingsInput(ir.passes.InPlacePass):
    """Gather(table_VD, ids_T)
    ->  Where(Unsqueeze(ids_T < 0), Cast(embeddings_TD), Gather(table_VD, Max(ids_T, 0)))"""

    def call(self, model: ir.Model) -> Told:
        told = Told(model, modified=False)
        for node in list(model.graph):
            if node.op_type == "Gather" and node.outputs[0].name == "embedding_TD":
                rewrite(model.graph, node)
                told.rewritten.append(("embedding_TD", "rows of the table or of embeddings_TD"))
                told.modified = True
        if not told.modified:
            told.unlike.append(("the graph", "it has no Gather that makes embedding_TD"))
        return told


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    """`node`'s readers read what its tokens have: a vector of the table or one that was given."""
    ids_T, row_TD = node.inputs[1], node.outputs[0]
    given_TD = ir.Value(
        name="embeddings_TD", type=ir.TensorType(ir.DataType.FLOAT), shape=row_TD.shape
    )
    graph.inputs.append(given_TD)

    def constant(name: str, array: np.ndarray) -> ir.Value:
        value = ir.Value(
            name=name,
            const_value=ir.tensor(array, name=name),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            shape=ir.Shape(array.shape),
        )
        graph.register_initializer(value)
        return value

    def op(kind: str, inputs: list[ir.Value], name: str, before: bool, **attributes) -> ir.Value:
        made = ir.node(kind, inputs, attributes)
        made.outputs[0].name = name
        (graph.insert_before if before else graph.insert_after)(node, made)
        return made.outputs[0]

    zero = constant("embedding.zero", np.array(0, np.int32))
    axis = constant("embedding.axis", np.array([1], np.int64))
    own_T = op("Less", [ids_T, zero], "embedding.given_T", before=True)
    own_T1 = op("Unsqueeze", [own_T, axis], "embedding.given_T1", before=True)
    cast_TD = op("Cast", [given_TD], "embedding.cast_TD", before=True, to=row_TD.dtype)
    node.replace_input_with(1, op("Max", [ids_T, zero], "embedding.ids_T", before=True))
    readers = list(row_TD.uses())
    y_TD = op("Where", [own_T1, cast_TD, row_TD], "embedding.chosen_TD", before=False)
    y_TD.type, y_TD.shape = row_TD.type, row_TD.shape
    for use in readers:
        use.node.replace_input_with(use.idx, y_TD)
