"""Output types and shapes of one node whose input sizes are numbers.

An op row comes first, then the model's functions, whose bodies are walked, then ONNX's own
inference. Standard ops are ONNX's: their rows are only for engines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from . import row_inference
from .ops import Row, Rows
from .value_fact import INTEGERS, LARGEST_DATA, Fact, ShapeError, fact_of

CACHED = 1 << 16  # answers


class Question(NamedTuple):
    """A node without its inputs; hashable, so that equal layers are inferred once."""

    domain: str
    op_type: str
    version: int
    attributes: tuple[tuple[str, int, Any], ...]  # name, onnx.AttributeProto type, value
    subject: Row | ir.Function | None  # what says its meaning; None: ONNX

    def values(self) -> dict[str, Any]:
        return {name: value for name, _, value in self.attributes}


class Inference:
    """Inference of the nodes of one model."""

    def __init__(self, model: ir.Model):
        self.functions, self.rows = model.functions, Rows()

    def question(self, node: ir.Node, imports: Mapping[str, int], given=None) -> Question:
        """What is asked about `node`; `given` are attributes of the function that it stands in."""
        subject = self.rows.row(node.domain, node.op_type) if node.domain else None
        if subject is None:
            subject = self.functions.get(node.op_identifier())
        attributes = []
        for attribute in node.attributes.values():
            if attribute.is_ref():
                if attribute.ref_attr_name not in (given or {}):
                    continue
                kind, value = given[attribute.ref_attr_name]
            else:
                kind, value = int(attribute.type), _hashable(attribute, node)
            attributes.append((attribute.name, kind, value))
        version = imports.get(node.domain, 1)
        return Question(node.domain, node.op_type, version, tuple(attributes), subject)

    def answer(
        self, question: Question, inputs: tuple[Fact | None, ...], count: int, node: ir.Node
    ) -> list[Fact | None]:
        """A fact for each of `count` outputs; None for one that is absent.

        Raises:
            ShapeError: names `node`.
        """
        try:
            if isinstance(question.subject, Row):
                return list(_of_row(question, inputs, count))
            if isinstance(question.subject, ir.Function):
                return self._of_function(question, inputs)
            return list(_of_standard(question, inputs, count))
        except (ShapeError, ValueError, onnx.shape_inference.InferenceError) as error:
            raise ShapeError(f"{_said(node)}: {error}") from error

    def _of_function(self, question: Question, inputs) -> list[Fact | None]:
        """The facts of a function's outputs, by a walk through its body."""
        function = question.subject
        given = {name: (kind, value) for name, kind, value in question.attributes}
        for name, attribute in function.attributes.items():
            if name not in given and attribute.value is not None:
                given[name] = (int(attribute.type), attribute.value)
        known: dict[ir.Value, Fact | None] = dict(zip(function.inputs, inputs, strict=False))
        for node in function:
            part = self.question(node, function.opset_imports, given)
            facts = tuple(None if value is None else known.get(value) for value in node.inputs)
            found = self.answer(part, facts, len(node.outputs), node)
            known.update(zip(node.outputs, found, strict=True))
        return [known[value] for value in function.outputs]


@lru_cache(maxsize=CACHED)
def _of_row(question: Question, inputs: tuple, count: int) -> tuple[Fact | None, ...]:
    return tuple(row_inference.infer(question.subject, inputs, count, question.values()))


@lru_cache(maxsize=CACHED)
def _of_standard(question: Question, inputs: tuple, count: int) -> tuple[Fact | None, ...]:
    """By ONNX, and with data where it can be known."""
    domain, op_type = question.domain, question.op_type
    if not onnx.defs.has(op_type, question.version, domain):
        raise ShapeError("it is no standard op, no row of the op table and no function")
    proto = _proto(question, inputs, count)
    types, data = {}, {}
    for place, fact in enumerate(inputs):
        if fact is None:
            continue
        types[f"i{place}"] = onnx.helper.make_tensor_type_proto(fact.dtype, fact.shape)
        if fact.data is not None:
            data[f"i{place}"] = onnx.numpy_helper.from_array(fact.array())
    found = onnx.shape_inference.infer_node_outputs(
        onnx.defs.get_schema(op_type, question.version, domain), proto, types, data,
        opset_imports=[onnx.helper.make_opsetid(domain, question.version)], ir_version=11,
    )  # fmt: skip
    facts = [_fact(found.get(name)) for name in proto.output]
    if None in facts:
        raise ShapeError("ONNX cannot tell the type and the shape of its outputs")
    return tuple(_with_data(question, proto, inputs, facts))


def _proto(question: Question, inputs: Sequence[Fact | None], count: int) -> onnx.NodeProto:
    names = ["" if fact is None else f"i{place}" for place, fact in enumerate(inputs)]
    outputs = [f"o{place}" for place in range(count)]
    proto = onnx.helper.make_node(question.op_type, names, outputs, domain=question.domain)
    for name, kind, value in question.attributes:
        if kind == onnx.AttributeProto.TENSOR:
            value = onnx.TensorProto.FromString(value)
        proto.attribute.append(onnx.helper.make_attribute(name, value, attr_type=kind))
    return proto


def _fact(proto: onnx.TypeProto | None) -> Fact | None:
    """The fact that ONNX inferred, or None if it is not complete."""
    if proto is None or not proto.tensor_type.HasField("shape"):
        return None
    sizes = proto.tensor_type.shape.dim
    if not all(size.HasField("dim_value") for size in sizes):
        return None
    return Fact(proto.tensor_type.elem_type, tuple(size.dim_value for size in sizes))


def _with_data(question, proto, inputs, facts) -> list[Fact]:
    """`facts`, with data where they are small integers made of known data."""
    whole = all(f.dtype in INTEGERS and np.prod(f.shape) <= LARGEST_DATA for f in facts)
    if question.op_type == "Shape" and question.domain == "":
        given = question.values()
        sizes = inputs[0].shape[given.get("start", 0) : given.get("end")]
        return [fact_of(np.array(sizes, np.int64))]
    if not whole or question.domain or any(f is not None and f.data is None for f in inputs):
        return facts
    from onnx.reference import ReferenceEvaluator

    feeds = {f"i{place}": f.array() for place, f in enumerate(inputs) if f is not None}
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [proto],
            "node",
            [onnx.helper.make_empty_tensor_value_info(name) for name in feeds],
            [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output],
        ),
        opset_imports=[onnx.helper.make_opsetid("", question.version)],
    )
    return [fact_of(np.asarray(a)) for a in ReferenceEvaluator(model).run(None, feeds)]


def _hashable(attribute: ir.Attr, node: ir.Node):
    """The value of an attribute, fit to be a part of a key."""
    value = attribute.value
    if isinstance(value, list | tuple):
        if all(isinstance(part, int | float | str) for part in value):
            return tuple(value)
    elif attribute.type == ir.AttributeType.TENSOR:
        return ir.serde.serialize_tensor(value).SerializeToString()
    elif isinstance(value, int | float | str | bytes):
        return value
    raise ShapeError(
        f"{_said(node)}: its attribute {attribute.name} is a {attribute.type.name.lower()}, which "
        "is not covered; write the graph without control flow and sparse tensors"
    )


def _said(node: ir.Node) -> str:
    """A node, and its inputs as far as they are known."""
    name = next((value.name for value in node.outputs if value.name), node.name or "(unnamed)")
    inputs = ", ".join(
        f"{value.name} {value.dtype or '?'}{value.shape or ''}"
        for value in node.inputs
        if value is not None
    )
    return f"node {name} ({node.domain or 'ai.onnx'}::{node.op_type} of {inputs or 'nothing'})"
