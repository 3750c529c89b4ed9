"""The page that describes every op, made of the rows."""

from __future__ import annotations

from collections.abc import Iterable

from .ops import Argument, Row


def page(rows: Iterable[Row]) -> str:
    """Markdown, one section an op; ours first, then strangers', then standard ONNX."""
    ordered = sorted(rows, key=lambda row: (row.domain != "ingot", not row.domain, row.operator))
    head = (
        "# Ops\n\nMade of the op rows. A shape is written in words: a word has one size wherever "
        "it stands in a row; `...` is any shape. `X:` ties the types of arguments.\n"
    )
    return "\n".join([head, *map(section, ordered)])


def section(row: Row) -> str:
    """One op's part of the page."""
    source = f" (of {row.library})" if row.library else ""
    lines = [f"## {row.operator}, version {row.version}{source}", "", row.doc.strip(), ""]
    lines += ["| | name | shape | type | |", "|---|---|---|---|---|"]
    lines += [_line("in", argument) for argument in row.inputs]
    lines += [_line("out", argument) for argument in row.outputs]
    if row.attributes:
        lines += ["", "Attributes: " + ", ".join(map(_attribute, row.attributes)) + "."]
    kernels = ", ".join(f"{kernel.name} ({kernel.device})" for kernel in row.kernels)
    lines += ["", f"Kernels: {kernels or 'none'}.", ""]
    return "\n".join(lines)


def _line(side: str, argument: Argument) -> str:
    notes = [] if argument.role == "activation" else [argument.role]
    notes += ["optional"] * argument.optional + ["repeated"] * argument.variadic
    if argument.alias >= 0:
        notes.append(f"may take the memory of input {argument.alias}")
    kind = argument.type.replace("|", "\\|")
    return f"| {side} | {argument.name} | `{argument.shape}` | {kind} | {', '.join(notes)} |"


def _attribute(attribute) -> str:
    if attribute.default is None:
        return f"`{attribute.name}` ({attribute.type}, required)"
    return f"`{attribute.name}` ({attribute.type}, {attribute.default or 'empty'})"
