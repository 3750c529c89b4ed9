"""Expressions in a model description: "=sliding_window if layer % 2 == 0 else None".

Names are keys of config.json (dots go into tables) and `layer`. There are numbers, strings, lists,
+ - * / // % ** on numbers, comparisons, and, or, not, in, if-else and indexing; no calls, no
attributes of Python objects, no loops. `a or b`, `a is None` and the test of an if-else are the
only places where a key may be missing; it is None there.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

MAX_LENGTH = 500  # characters
LARGEST = 1 << 63
ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: float(a) ** float(b),  # never an integer of a million digits
}
COMPARISONS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


class Missing(LookupError):
    """config.json lacks a key that the description needs; `key` says which."""

    def __init__(self, key: str):
        super().__init__(f"config.json does not say {key}")
        self.key = key


class ExpressionError(ValueError):
    """An expression says what expressions may not say, or cannot be computed."""


def is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("=")


def names(text: str) -> set[str]:
    """The keys that the expression `text` may read; keys of tables with their dots."""
    found, inner = set(), set()
    for node in ast.walk(_parsed(text)):
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
            inner.update(id(part) for part in ast.walk(node.value))
        elif isinstance(node, ast.Name) and id(node) not in inner:
            found.add(node.id)
    return {name for name in found if not any(other.startswith(name + ".") for other in found)}


def mistakes(value: Any) -> Iterator[str]:
    """What is wrong with the expressions in a leaf, before there is anything to evaluate."""
    if isinstance(value, dict | list):
        for element in value.values() if isinstance(value, dict) else value:
            yield from mistakes(element)
    elif is_expression(value):
        try:
            _parsed(value)
        except ExpressionError as error:
            yield str(error)


def evaluate(value: Any, scope: Mapping[str, Any]) -> Any:
    """`value` itself, or what it says over `scope`; lists and tables element by element.

    Raises:
        Missing: `scope` lacks a key that is needed.
        ExpressionError: it is not an expression, or fails.
    """
    if isinstance(value, list):
        return [evaluate(element, scope) for element in value]
    if isinstance(value, dict):
        return {key: evaluate(element, scope) for key, element in value.items()}
    if not is_expression(value):
        return value
    try:
        return _value(_parsed(value), scope)
    except (TypeError, ArithmeticError, LookupError) as error:
        if isinstance(error, Missing):
            raise
        raise ExpressionError(f"{value}: {error}") from error


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"{text[:40]}…: longer than {MAX_LENGTH} characters")
    try:
        return ast.parse(text[1:].strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = getattr(error, "msg", None) or type(error).__name__
        raise ExpressionError(f"{text}: not an expression ({why})") from error


def _value(node: ast.expr, scope: Mapping[str, Any], may_miss: bool = False) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.Name() | ast.Attribute():
            return _key(node, scope, may_miss)
        case ast.List(elts=elements):
            return [_value(element, scope) for element in elements]
        case ast.Subscript(value=table, slice=index):
            return _value(table, scope)[_value(index, scope)]
        case ast.BoolOp(op=op, values=values):
            return _either(isinstance(op, ast.Or), values, scope, may_miss)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, scope, may_miss)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_value(operand, scope))
        case ast.IfExp(test=test, body=yes, orelse=no):
            return _value(yes if _value(test, scope, True) else no, scope, may_miss)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            unsure = isinstance(op, ast.Is | ast.IsNot)
            return COMPARISONS[type(op)](_value(left, scope, unsure), _value(right, scope))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            numbers = _number(_value(left, scope)), _number(_value(right, scope))
            return _number(ARITHMETIC[type(op)](*numbers))
    raise ExpressionError(f"{ast.unparse(node)[:80]}: not allowed in a model description")


def _key(node: ast.expr, scope: Mapping[str, Any], may_miss: bool) -> Any:
    """The value of a key, or of a key in a table."""
    if isinstance(node, ast.Attribute):
        table, key = _value(node.value, scope, may_miss), node.attr
        if table is not None and not isinstance(table, Mapping):
            raise ExpressionError(f"{ast.unparse(node)}: {ast.unparse(node.value)} is no table")
    else:
        table, key = scope, node.id
    if table is not None and key in table:
        return table[key]
    if may_miss:
        return None
    raise Missing(ast.unparse(node))


def _either(any_of: bool, values: list[ast.expr], scope, may_miss: bool) -> Any:
    """`or` and `and`, as Python has them: the value that decides."""
    for value in values:
        unsure = may_miss or (any_of and value is not values[-1])
        result = _value(value, scope, unsure)
        if bool(result) == any_of:
            break
    return result


def _number(value: Any) -> Any:
    """`value`, if it is a number of bearable size: text and lists would grow without end."""
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} is not a number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise OverflowError("the number is too large")
    return value
