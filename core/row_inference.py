"""Output types and shapes that an op row's words say, or that its C++ `infer` computes.

A word is bound by its first use and checked by the others; outputs may use arithmetic over words
and integer attributes: `T (H+2*G)*K`, `T E/2`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from . import native
from .op_line import DTYPES, dtype_word, op_line
from .ops import Argument, Row
from .value_fact import Fact, ShapeError

ANY = "..."
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def infer(
    row: Row, inputs: Sequence[Fact | None], count: int, attributes: Mapping[str, Any]
) -> list[Fact | None]:
    """The facts of `count` outputs.

    Raises:
        ShapeError: the inputs do not fit the row.
    """
    letters, words = _bound(row, inputs)
    given = _given(row, attributes)
    names = {**{k: v for k, v in given.items() if isinstance(v, int)}, **words}
    outputs = list(_arguments(row.outputs, count, row, "outputs"))
    if any(ANY in output.shape or _open(output, letters) for output in outputs):
        return _native(row, inputs, count, given)
    return [
        Fact(_dtype(output, letters, given, row), tuple(_sizes(output, names, row)))
        for output in outputs
    ]


def _bound(row: Row, inputs) -> tuple[dict[str, int], dict[str, int]]:
    """Types by letter and sizes by word, from the inputs."""
    letters: dict[str, int] = {}
    words: dict[str, int] = {}
    arguments = list(_arguments(row.inputs, len(inputs), row, "inputs"))
    for argument in row.inputs[len(inputs) :]:
        if not argument.optional and not argument.variadic:
            raise ShapeError(f"{row.operator} needs an input {argument.name}, which is absent")
    for argument, fact in zip(arguments, inputs, strict=True):
        if fact is None:
            if not argument.optional:
                raise ShapeError(f"{row.operator} needs an input {argument.name}, which is absent")
            continue
        _bind_type(argument, fact, letters)
        _bind_sizes(argument, fact, words)
    return letters, words


def _bind_type(argument: Argument, fact: Fact, letters: dict[str, int]) -> None:
    word, letter = dtype_word(fact.dtype), argument.letter
    if argument.dtypes and word not in argument.dtypes:
        raise ShapeError(f"{argument.name} is {word}, the row takes {'|'.join(argument.dtypes)}")
    if letter and letters.setdefault(letter, fact.dtype) != fact.dtype:
        other = dtype_word(letters[letter])
        raise ShapeError(f"{argument.name} is {word}, but inputs before it are {other}")


def _bind_sizes(argument: Argument, fact: Fact, words: dict[str, int]) -> None:
    if ANY in argument.shape:
        return
    parts = argument.shape.split()
    if len(parts) != len(fact.shape):
        raise ShapeError(
            f"{argument.name} has {len(fact.shape)} dimensions, the row says [{argument.shape}]"
        )
    for part, size in zip(parts, fact.shape, strict=True):
        wanted = words.setdefault(part, size) if part.isidentifier() else None
        if part.isdigit():
            wanted = int(part)
        if wanted not in (None, size):
            raise ShapeError(
                f"{argument.name} is {list(fact.shape)}, the row says [{argument.shape}], and "
                f"{part} is {wanted}"
            )


def _given(row: Row, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The node's attributes, with the row's defaults filled in."""
    known = {attribute.name: attribute for attribute in row.attributes}
    if strange := [name for name in attributes if name not in known]:
        raise ShapeError(
            f"{row.operator} has no attribute {strange[0]} (it has: {', '.join(known) or 'none'})"
        )
    given = dict(attributes)
    for name, attribute in known.items():
        if name in given:
            continue
        if attribute.default is None:
            raise ShapeError(f"{row.operator} needs the attribute {name}")
        if attribute.type == "int":
            given[name] = int(attribute.default)
        elif attribute.type == "dtype":
            given[name] = DTYPES[attribute.default]
    return given


def _arguments(arguments, count: int, row: Row, what: str) -> Iterator[Argument]:
    for place in range(count):
        if place < len(arguments):
            yield arguments[place]
        elif arguments and arguments[-1].variadic:
            yield arguments[-1]
        else:
            raise ShapeError(f"{row.operator} has {len(arguments)} {what}, {count} are given")


def _open(output: Argument, letters: Mapping[str, int]) -> bool:
    """Whether the words of the row leave the type of `output` open."""
    if output.type.startswith("="):
        return False
    if output.letter:
        return output.letter not in letters
    return len(output.dtypes) != 1


def _dtype(output: Argument, letters, given, row: Row) -> int:
    if output.type.startswith("="):
        return int(given[output.type[1:]])
    return letters[output.letter] if output.letter else DTYPES[output.dtypes[0]]


def _sizes(output: Argument, names: Mapping[str, int], row: Row) -> Iterator[int]:
    for part in output.shape.split():
        size = _evaluated(_parsed(part), names, f"[{output.shape}] of {row.operator}")
        if size < 0:
            raise ShapeError(f"{output.name} of {row.operator} would have the size {part} = {size}")
        yield size


@lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _evaluated(node: ast.expr, names: Mapping[str, int], where: str) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise ShapeError(f"{node.id} in {where} is bound by no input and no attribute")
        return names[node.id]
    if isinstance(node, ast.BinOp):
        left, right = (_evaluated(side, names, where) for side in (node.left, node.right))
        if isinstance(node.op, ast.Div | ast.FloorDiv):
            if right == 0 or left % right:
                raise ShapeError(f"{left} / {right} in {where} is no whole number")
            return left // right
        if type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](left, right)
    raise ShapeError(f"{ast.unparse(node)} in {where} is no arithmetic over words")


def _native(row: Row, inputs, count: int, given: Mapping[str, Any]) -> list[Fact]:
    """What the C++ side says."""
    names = [None if fact is None else f"i{place}" for place, fact in enumerate(inputs)]
    outputs = [f"o{place}" for place in range(count)]
    kinds = {attribute.name for attribute in row.attributes}
    line = op_line(row, "node", names, outputs, {k: v for k, v in given.items() if k in kinds})
    facts = [
        None
        if fact is None
        else (dtype_word(fact.dtype), fact.shape, fact.array() if fact.data is not None else None)
        for fact in inputs
    ]
    found = native.infer_op(line, facts, count, row.library)
    return [Fact(DTYPES[word], tuple(shape)) for word, shape in found]
