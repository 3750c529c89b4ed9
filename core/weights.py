"""Make lazy tensors from lazy tensors, and write them with bounded memory.

A pass never reads a weight: it returns tensors made here, and whoever lowers the graph streams
them with `write`. What each of them is and does stands in recipes.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from . import recipes
from .made_weight import CodesFormula
from .recipes import Derivation, Derived, Weight

__all__ = [
    "Weight", "add", "cast", "concat", "constant", "derive", "lazy", "rename", "slice", "stack",
    "transpose", "write",
]  # fmt: skip


def constant(array: np.ndarray, name: str) -> Weight:
    """`array` as a weight."""
    return recipes.Constant(np.ascontiguousarray(array).reshape(np.shape(array)), name)


def lazy(value: ir.Value) -> Weight:
    """The tensor of an initializer as one that is read when it is written."""
    tensor = value.const_value
    return tensor if isinstance(tensor, Weight) else constant(tensor.numpy(), value.name)


def rename(weight: Weight, name: str) -> Weight:
    """The same tensor under another name; the recipe stays."""
    return recipes.Renamed(weight, name)


def slice(weight: Weight, axis: int, start: int, stop: int) -> Weight:
    """Entries from `start` up to `stop` of one axis."""
    axis = _axis(weight, axis)
    if not 0 <= start < stop <= weight.shape[axis]:
        raise ValueError(f"{weight!r}: axis {axis} has no entries {start}:{stop}")
    if (start, stop) == (0, weight.shape[axis]):
        return weight
    return recipes.Slice(weight, axis, start, stop)


def concat(weights: Sequence[Weight], axis: int = 0) -> Weight:
    """The tensors one after the other along `axis`."""
    if not weights:
        raise ValueError("concat of no tensors")
    axis = _axis(weights[0], axis)

    def others(weight):
        return [size for i, size in enumerate(weight.shape) if i != axis]

    _alike(weights, "concat", others)
    return weights[0] if len(weights) == 1 else recipes.Concat(weights, axis)


def stack(weights: Sequence[Weight]) -> Weight:
    """The tensors along a new first axis."""
    if not weights:
        raise ValueError("stack of no tensors")
    _alike(weights, "stack", lambda weight: list(weight.shape))
    return recipes.Stack(weights)


def transpose(weight: Weight) -> Weight:
    """The last two axes exchanged. A matrix is then read whole."""
    if len(weight.shape) < 2:
        raise ValueError(f"{weight!r} has no two axes to exchange")
    return recipes.Transpose(weight)


def cast(weight: Weight, dtype: ir.DataType) -> Weight:
    """The nearest values of `dtype`; a value that it cannot hold is an error when it is read."""
    dtype = ir.DataType(dtype)
    return weight if weight.dtype == dtype else recipes.Cast(weight, dtype)


def add(weight: Weight, number: float) -> Weight:
    """`number` added to every element in float32, in the weight's dtype."""
    return weight if number == 0 else recipes.Add(weight, number)


def derive(
    source: Weight,
    function: Callable,
    outputs: Sequence[tuple[str, ir.DataType, Sequence[int]]],
    recipe: str,
    rows: int | None = 1,
    formula: CodesFormula | None = None,
) -> list[Weight]:
    """Siblings: the outputs (name, dtype, shape) of `function`, made from one reading of `source`.

    function(array) -> an array for each output. It is called with any multiple of `rows` rows, and
    gives that part of each output; with rows=None it is called with all of them. `recipe` says what
    it does, with … where the source stands: "fp8(…, scale=channel)", or "nf4(block=64)". `formula`:
    that the outputs are its codes, scales and, if it has them, zero points.
    """
    if rows is not None:
        if rows < 1 or not len(source.shape) or source.rows % rows:
            raise ValueError(f"{recipe}: {source!r} cannot be read by {rows} rows")
        for name, _, shape in outputs:
            if not shape or shape[0] % (source.rows // rows):
                raise ValueError(
                    f"{recipe}: {name} is {list(shape)}, but each {rows} of {source.rows} rows "
                    "must give an equal part of it; use rows=None if it needs all of them"
                )
    shared = Derivation(source, function, rows, formula)
    said = _applied(recipe, source.recipe)
    for index, (name, dtype, shape) in enumerate(outputs):
        own = f"{said}[{index}]" if len(outputs) > 1 else said
        shared.outputs.append(Derived(shared, index, name, dtype, shape, own, rows is None))
    return list(shared.outputs)


def write(
    weights: Iterable[Weight],
    sink: Callable[[Weight, int, np.ndarray], None],
    chunk_bytes: int = 64 << 20,
) -> None:
    """Every row of every weight has been given to `sink(weight, start_row, rows)`, in order.

    Siblings advance together, so that their source is read once; at most about `chunk_bytes` are
    held at a time, or one tensor where its recipe needs all of it. The weights of one group are
    interleaved; groups follow one another.
    """
    for group in _groups(list(weights)):
        derivations = {d for weight in group for d in _derivations(weight)}
        try:
            for block in _blocks(group, chunk_bytes):
                for weight, start, stop in block:
                    sink(weight, start, weight.read(start, stop))
        finally:
            for derivation in derivations:
                derivation.forget()


def _blocks(group: Sequence[Weight], chunk_bytes: int) -> Iterator[list[tuple[Weight, int, int]]]:
    """Parts of a group's rows such that corresponding rows of siblings fall into one part."""
    count = math.gcd(*(weight.rows for weight in group)) or 1
    if any(weight.whole for weight in group):
        count = 1
    sources = {d.source for weight in group for d in _derivations(weight)}
    total = sum(weight.nbytes for weight in group) + sum(source.nbytes for source in sources)
    step = max(1, int(chunk_bytes * count // max(1, total)))
    for first in range(0, count, step):
        last = min(first + step, count)
        yield [(w, w.rows * first // count, w.rows * last // count) for w in group]


def _groups(weights: Sequence[Weight]) -> list[list[Weight]]:
    """Weights that share a derivation stand together; in the order of their first."""
    groups: dict[int, list[Weight]] = {}
    homes: dict[Derivation, int] = {}
    for number, weight in enumerate(weights):
        mine = _derivations(weight)
        found = {homes[derivation] for derivation in mine if derivation in homes}
        home = min(found, default=number)
        for other in found - {home}:
            groups[home] += groups.pop(other)
            homes.update({d: home for d, place in homes.items() if place == other})
        groups.setdefault(home, []).append(weight)
        homes.update(dict.fromkeys(mine, home))
    return list(groups.values())


def _derivations(weight: Weight) -> set[Derivation]:
    found = {weight.derivation} if isinstance(weight, Derived) else set()
    return found.union(*(_derivations(source) for source in weight.sources))


def _applied(recipe: str, source: str) -> str:
    if "…" in recipe:
        return recipe.replace("…", source)
    name, bracket, rest = recipe.partition("(")
    if not bracket:
        return f"{name}({source})"
    return f"{name}({source})" if rest == ")" else f"{name}({source}, {rest}"


def _axis(weight: Weight, axis: int) -> int:
    rank = len(weight.shape)
    if not -rank <= axis < rank:
        raise ValueError(f"{weight!r} has no axis {axis}")
    return axis % rank


def _alike(weights: Sequence[Weight], what: str, key: Callable) -> None:
    first = weights[0]
    for weight in weights[1:]:
        if weight.dtype != first.dtype or key(weight) != key(first):
            raise ValueError(f"{what} of {first!r} and {weight!r}: dtypes and shapes do not fit")
