"""Types and shapes of every value, with sizes as linear forms in words (`4*T`).

Words are the named sizes of the graph's inputs. Every node is inferred with several concrete
bindings of them, distinct primes, and each size of its outputs is fitted to a linear form; one
more binding is the check. Small integers are followed as data, since shapes are made of them.
"""

from __future__ import annotations

import onnx_ir as ir

from .linear_form import Fit, LinearForm
from .node_inference import Inference
from .value_fact import Fact, ShapeError, data_of


def infer(model: ir.Model) -> ir.Model:
    """`model`, with a type and a shape on every value of its graph.

    Raises:
        ShapeError: names the node whose inputs do not fit, or whose outputs cannot be known.
    """
    facts(model)
    return model


def facts(model: ir.Model) -> dict[ir.Value, list[Fact | None]]:
    """What is known of every value, for each binding; types and shapes are set as by `infer`."""
    graph = model.graph
    fit = Fit(_words(graph))
    known = {value: _facts_of_constant(value, fit) for value in graph.initializers.values()}
    for value in graph.inputs:
        if value not in known:
            known[value] = [_fact_of_input(value, sizes) for sizes in fit.bindings]
    declared = {value: (value.dtype, value.shape) for value in graph.outputs}
    inference = Inference(model)
    for node in graph:
        question = inference.question(node, graph.opset_imports)
        inputs = [None if value is None else known[value] for value in node.inputs]
        found: list[list[Fact | None]] = []
        for binding in range(len(fit.bindings)):
            given = tuple(None if fact is None else fact[binding] for fact in inputs)
            found.append(inference.answer(question, given, len(node.outputs), node))
        for place, value in enumerate(node.outputs):
            known[value] = [outputs[place] for outputs in found]
            if value.name != "":
                _set(value, node, known[value], fit)
    for value, (dtype, shape) in declared.items():
        _check_declared(value, dtype, shape)
    return known


def forms(value: ir.Value) -> tuple[LinearForm, ...]:
    """The sizes of a value whose shape has been inferred."""
    return tuple(_form(size) for size in value.shape)


def _form(size) -> LinearForm:
    return LinearForm(size) if isinstance(size, int) else LinearForm.parse(size.value)


def _words(graph: ir.Graph) -> tuple[str, ...]:
    """The named sizes of the graph's inputs."""
    words: dict[str, None] = {}
    for value in graph.inputs:
        if value.dtype is None or value.shape is None:
            raise ShapeError(f"the graph input {value.name} has no type or no shape; declare both")
        for size in value.shape:
            if not isinstance(size, int) and not size.value:
                raise ShapeError(
                    f"the graph input {value.name} has the shape {value.shape}; give every size "
                    "that is not fixed a name, such as T"
                )
            try:
                words.update(dict.fromkeys(_form(size).words))
            except ValueError as error:
                raise ShapeError(f"the graph input {value.name}: {error}") from error
    return tuple(words)


def _fact_of_input(value: ir.Value, sizes) -> Fact:
    return Fact(int(value.dtype), tuple(form.at(sizes) for form in forms(value)), None)


def _facts_of_constant(value: ir.Value, fit: Fit) -> list[Fact]:
    tensor = value.const_value
    if tensor is None:
        raise ShapeError(f"the initializer {value.name} has no value")
    value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape)
    fact = Fact(int(tensor.dtype), tuple(tensor.shape), data_of(tensor))
    return [fact] * len(fit.bindings)


def _set(value: ir.Value, node: ir.Node, facts: list[Fact | None], fit: Fit) -> None:
    """The type and the shape that all bindings agree on."""
    base = facts[0]
    if None in facts:
        return
    kinds = {(fact.dtype, len(fact.shape)) for fact in facts}
    sizes = None
    if len(kinds) == 1:
        sizes = [fit.form(values) for values in zip(*(fact.shape for fact in facts), strict=True)]
    if sizes is None or None in sizes:
        raise ShapeError(
            f"node {value.name} ({node.domain or 'ai.onnx'}::{node.op_type}): its shape "
            f"is no linear form in {', '.join(fit.words)}: it is {list(base.shape)} with "
            f"{fit.bindings[0]} and {list(facts[-1].shape)} with {fit.bindings[-1]}"
        )
    value.type = ir.TensorType(ir.DataType(base.dtype))
    value.shape = ir.Shape([str(form) if form.factors else form.constant for form in sizes])


def _check_declared(value: ir.Value, dtype, shape) -> None:
    """What a graph output promised is what is computed."""
    wrong = dtype is not None and value.dtype is not None and dtype != value.dtype
    if shape is not None and value.shape is not None:
        pairs = list(zip(shape, value.shape, strict=False))
        wrong = wrong or len(shape) != len(value.shape)
        wrong = wrong or any(isinstance(a, int) and a != b for a, b in pairs)
    if wrong:
        raise ShapeError(
            f"the graph output {value.name} is declared {dtype} {shape}, but what is computed is "
            f"{value.dtype} {value.shape}"
        )
