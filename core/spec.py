"""What a legal graph is, between any two passes.

Every op is standard at the graph's opset, a row of the op table or a function of the model. Every
value is made before it is read, has a name of its own without white space, comma, `=` or quotes,
and a type and a rank. Every initializer is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .command import UserError

if TYPE_CHECKING:
    import onnx_ir as ir

ILLEGAL = re.compile(r"[\s,='\"]")


class SpecError(UserError):
    """A pass left a graph that no engine may be given."""


def verify(model: ir.Model, after: str) -> ir.Model:
    """`model`, with a type and a shape on every value.

    Raises:
        SpecError: names the pass, the node or value, and the rule that it breaks.
    """
    known = _known_ops(model)
    for container in (model.graph, *model.functions.values()):
        for node in container:
            if not known(node, container):
                opset = container.opset_imports.get(node.domain, "(none)")
                raise SpecError(
                    f"after {after}: node {label(node)} uses {operator(node)}, which is neither "
                    f"standard at opset {opset}, nor a row of the op table, nor a function of the "
                    "model"
                )
    _verify_values(model.graph, after)
    _verify_types(model, after)
    return model


def label(node: ir.Node) -> str:
    """The name that a person knows a node by: that of what it makes."""
    return next((value.name for value in node.outputs if value.name), node.name or "(unnamed)")


def operator(node: ir.Node) -> str:
    return f"{node.domain or 'ai.onnx'}::{node.op_type}"


def _known_ops(model: ir.Model) -> Callable:
    import onnx

    from .ops import Rows

    rows, newest = Rows(), onnx.defs.onnx_opset_version()
    functions = {(f.domain, f.name) for f in model.functions.values()}

    def known(node, container):
        if (node.domain, node.op_type) in functions:
            return True
        opset = container.opset_imports.get(node.domain)
        if node.domain and rows.row(node.domain, node.op_type) is not None:
            return True
        if opset is None or (not node.domain and opset > newest):
            return False
        return onnx.defs.has(node.op_type, opset, node.domain)

    return known


def _verify_values(graph: ir.Graph, after: str) -> None:
    """Names are legal and unique; nothing is read before it is made; no initializer is idle."""
    made: set[int] = set()
    names: set[str] = set()

    def make(value, what):
        if not value.name or ILLEGAL.search(value.name):
            raise SpecError(
                f"after {after}: {what} is called {value.name!r}; a name has no white space, "
                "comma, '=' or quotes, and is not empty"
            )
        if value.name in names:
            raise SpecError(f"after {after}: two values are called {value.name}")
        names.add(value.name)
        made.add(id(value))

    initializers = list(graph.initializers.values())
    for value in (*graph.inputs, *initializers):
        if id(value) not in made:
            make(value, "an initializer" if value.const_value is not None else "a graph input")
    for node in graph:
        for value in node.inputs:
            if value is not None and id(value) not in made:
                raise SpecError(
                    f"after {after}: node {label(node)} ({operator(node)}) reads {value.name}, "
                    "which nothing before it makes"
                )
        for value in node.outputs:
            if value.name != "":  # an unused optional output
                make(value, f"an output of {operator(node)}")
    if not graph.outputs:
        raise SpecError(f"after {after}: the graph has no output")
    for value in graph.outputs:
        if id(value) not in made:
            raise SpecError(f"after {after}: nothing makes the graph output {value.name}")
    for value in initializers:
        if not value.uses() and not value.is_graph_output():
            raise SpecError(f"after {after}: no node reads the initializer {value.name}")


def _verify_types(model: ir.Model, after: str) -> None:
    """Infers, and insists that every value of the graph has a type and a rank."""
    from . import shapes

    try:
        shapes.infer(model)
    except UserError as error:
        raise SpecError(f"after {after}: {error}") from error
    graph = model.graph
    makers = [("a graph input", graph.inputs), ("a graph output", graph.outputs)]
    makers += [(f"node {label(node)} ({operator(node)})", node.outputs) for node in graph]
    for maker, values in makers:
        for value in values:
            if value.name != "" and (value.type is None or value.shape is None):
                lack = "type" if value.type is None else "rank"
                raise SpecError(f"after {after}: {value.name} of {maker} has no {lack}")
