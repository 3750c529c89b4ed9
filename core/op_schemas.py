"""Op rows as ONNX schemas, so that onnx's checker and other tools know our ops and strangers'."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx.defs import OpSchema

from .op_line import DTYPES
from .ops import TENSORS, Argument, Attribute, Row
from .schema_inference import inference

KINDS = {
    "int": onnx.AttributeProto.INT, "dtype": onnx.AttributeProto.INT,
    "float": onnx.AttributeProto.FLOAT, "string": onnx.AttributeProto.STRING,
    "ints": onnx.AttributeProto.INTS, "floats": onnx.AttributeProto.FLOATS,
}  # fmt: skip


def publish(rows: Iterable[Row]) -> None:
    """onnx has a schema for each row, in the place of an earlier one of that version."""
    for row in rows:
        if onnx.defs.has(row.name, row.version, row.domain):
            found = onnx.defs.get_schema(row.name, row.version, row.domain)
            onnx.defs.deregister_schema(row.name, found.since_version, row.domain)
        onnx.defs.register_schema(schema(row))


def schema(row: Row) -> OpSchema:
    """The ONNX schema that says what `row` says."""
    constraints: dict[str, tuple[str, list[str], str]] = {}
    made = OpSchema(
        row.name,
        row.domain,
        row.version,
        row.doc,
        inputs=[_parameter(argument, constraints) for argument in row.inputs],
        outputs=[_parameter(argument, constraints) for argument in row.outputs],
        attributes=[_attribute(attribute) for attribute in row.attributes],
        type_constraints=list(constraints.values()),
    )
    made.set_type_and_shape_inference_function(inference(row))
    return made


def _parameter(argument: Argument, constraints: dict) -> OpSchema.FormalParameter:
    words = argument.dtypes or (() if argument.letter else tuple(DTYPES))
    letter = argument.letter or f"type_of_{argument.name}"
    if argument.type.startswith("="):
        words, letter = tuple(DTYPES), f"type_of_{argument.name}"
    if words:
        known = constraints.get(letter, (letter, [], ""))[1]
        types = known or [f"tensor({TENSORS[word]})" for word in words]
        constraints[letter] = (letter, types, "")
    options = OpSchema.FormalParameterOption
    option = options.Optional if argument.optional else options.Single
    return OpSchema.FormalParameter(
        argument.name,
        letter,
        f"[{argument.shape}], {argument.role}",
        param_option=options.Variadic if argument.variadic else option,
    )


def _attribute(attribute: Attribute) -> OpSchema.Attribute:
    kind = KINDS[attribute.type]
    if attribute.default is None:
        return OpSchema.Attribute(attribute.name, OpSchema.AttrType(kind), required=True)
    default = onnx.helper.make_attribute(attribute.name, default_value(attribute), attr_type=kind)
    return OpSchema.Attribute(attribute.name, default)


def default_value(attribute: Attribute):
    """The default of an attribute that has one, as a Python value."""
    kind, text = attribute.type, attribute.default or ""
    if kind == "dtype":
        return DTYPES.get(text, 0)
    if kind == "string":
        return text
    number = int if kind in ("int", "ints") else float
    if kind in ("ints", "floats"):
        return [number(part) for part in text.split(",") if part]
    return number(text)
