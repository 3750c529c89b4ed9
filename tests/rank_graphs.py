"""The graphs of all ranks as one of standard ONNX, so that onnxruntime is an oracle for them too.

AllReduce is Sum or Max over the ranks, AllGather is Concat. T tokens, N rows, V vocabulary.
"""

from __future__ import annotations

import onnx_ir as ir

from core import passes
from plugins.parallel.tensor_pass import TensorParallel

STANDARD = {("AllReduce", "sum"): "Sum", ("AllReduce", "max"): "Max"}
COLLECTIVES = ("AllReduce", "AllGather")


def ranked(model: ir.Model, ranks: int) -> list[ir.Model]:
    """The graph of each rank, verified as a build does it."""
    return [
        passes.run(TensorParallel(rank, ranks), model.clone(), "parallel.tensor").model
        for rank in range(ranks)
    ]


def joined(models: list[ir.Model]) -> ir.Model:
    """One graph with the inputs and outputs of the first rank, and the nodes of all."""
    inputs, outputs = list(models[0].graph.inputs), list(models[0].graph.outputs)
    nodes, initializers, meetings = [], [], []
    for rank, model in enumerate(models):
        graph = model.graph
        meetings.append([node for node in graph if node.op_type in COLLECTIVES])
        if rank:
            for mine, shared in zip(graph.inputs, inputs, strict=True):
                ir.convenience.replace_all_uses_with(mine, shared)
        initializers += graph.initializers.values()
        own = list(graph)
        for value in [v for node in own for v in node.outputs] + list(graph.initializers.values()):
            if rank or value not in outputs:
                value.name = f"rank{rank}.{value.name}"
        graph.inputs.clear()
        graph.outputs.clear()
        graph.initializers.clear()
        graph.remove(own)
        for node in own:
            node.name = None
        nodes += own
    for group in zip(*meetings, strict=True):
        meeting = standard(group)
        nodes[nodes.index(group[0])] = meeting
        for node in group:
            keep = node.outputs[0] in outputs
            ir.convenience.replace_all_uses_with(node.outputs[0], meeting.outputs[0])
            if keep:
                outputs[outputs.index(node.outputs[0])] = meeting.outputs[0]
                meeting.outputs[0].name = node.outputs[0].name
            if node in nodes:
                nodes.remove(node)
    graph = ir.Graph(
        inputs, outputs, nodes=nodes, initializers=initializers,
        opset_imports=dict(models[0].opset_imports), name="joined",
    )  # fmt: skip
    graph.sort()
    return ir.Model(graph, ir_version=11, functions=list(models[0].functions.values()))


def standard(group: tuple[ir.Node, ...]) -> ir.Node:
    """The standard op for one meeting of the ranks."""
    first, inputs = group[0], [node.inputs[0] for node in group]
    if first.op_type == "AllGather":
        made = ir.node("Concat", inputs, {"axis": first.attributes["axis"].as_int()})
    else:
        made = ir.node(STANDARD["AllReduce", first.attributes["op"].as_string()], inputs)
    [output], [old] = made.outputs, first.outputs
    output.name, output.type, output.shape = old.name, old.type, old.shape
    return made
