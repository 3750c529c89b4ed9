"""One use of an op as a line of plan.txt.

op NAME DOMAIN::OP@VERSION in=a,b,- out=y key=f:1e-05
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    from .ops import Row

ESCAPED = re.compile(r"[\s%,=\x00-\x1f\x7f]")
LETTERS = {"int": "i", "float": "f", "string": "s", "ints": "I", "floats": "F", "dtype": "d"}

# Words for onnx.TensorProto.DataType in rows, plan.txt and messages.
DTYPES = {
    "f32": 1, "u8": 2, "i8": 3, "i32": 6, "i64": 7, "bool": 9, "f16": 10, "bf16": 16,
    "f8e4m3": 17, "f8e5m2": 19, "u4": 21, "i4": 22,
}  # fmt: skip
WORDS = {number: word for word, number in DTYPES.items()}


def op_line(
    row: Row,
    name: str,
    inputs: Iterable[str | None],
    outputs: Iterable[str | None],
    attributes: Mapping[str, Any],
    version: int | None = None,
) -> str:
    """The line for one node; `attributes` are Python values.

    Raises:
        ValueError: an attribute is not in the row or has no form there.
    """
    words = [f"op {name} {row.domain}::{row.name}@{version or row.version}"]
    words.append("in=" + ",".join(i or "-" for i in inputs))
    words.append("out=" + ",".join(o or "-" for o in outputs))
    kinds = {attribute.name: attribute.type for attribute in row.attributes}
    for key, value in attributes.items():
        if key not in kinds:
            known = ", ".join(kinds) or "none"
            raise ValueError(f"attribute {key}={value!r} is not one of {known}")
        words.append(f"{key}={LETTERS[kinds[key]]}:{_written(kinds[key], value)}")
    return " ".join(words)


def values(attributes: Iterable[ir.Attr]) -> dict[str, Any]:
    """Attributes as Python values: numbers, text, and lists of numbers."""
    return {attribute.name: attribute.value for attribute in attributes}


def of_row(node: ir.Node, row: Row) -> dict[str, Any]:
    """The attributes that the row has; others only repeat what ONNX takes for granted anyway.

    A type of 0 is ONNX's way of leaving it out.
    """
    kinds = {attribute.name: attribute.type for attribute in row.attributes}
    return {
        a.name: a.value
        for a in node.attributes.values()
        if a.name in kinds and not (kinds[a.name] == "dtype" and a.value == 0)
    }


def dtype_word(dtype: int) -> str:
    """The word for an element type.

    Raises:
        ValueError: rows have none for it.
    """
    if int(dtype) not in WORDS:
        raise ValueError(f"{ir.DataType(dtype).name} is none of the types {', '.join(DTYPES)}")
    return WORDS[int(dtype)]


def _written(kind: str, value) -> str:
    if kind == "int":
        return str(int(value))
    if kind == "float":
        return f"{float(value):.9g}"
    if kind == "dtype":
        return dtype_word(value)
    if kind == "ints":
        return ",".join(str(int(v)) for v in value)
    if kind == "floats":
        return ",".join(f"{float(v):.9g}" for v in value)
    raw = value if isinstance(value, bytes) else str(value).encode()
    text = raw.decode("utf-8")
    return ESCAPED.sub(lambda m: "".join(f"%{byte:02X}" for byte in m[0].encode()), text)
