"""Constants of a graph that a rank needs only in part: asked for one by one, then made at once.

A constant that several nodes read is cut in place if all of them want the same part of it; else
each part becomes a constant of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import onnx_ir as ir

from core import weights

from .shares import Share

Make = Callable[[weights.Weight], weights.Weight]


class Cuts:
    """What is wanted of each constant, by the place that wants it."""

    def __init__(self, graph: ir.Graph):
        self.graph = graph
        self.wanted: dict[ir.Value, dict[Hashable, tuple[Make, list]]] = {}

    def part(self, node: ir.Node, place: int, axis: int, share: Share) -> None:
        """`node` reads only its share of one axis of the constant at `place`."""
        value = node.inputs[place]
        start, stop = share.cut(value.const_value.shape[axis], value.name)
        self.entries(node, place, axis, start, stop)

    def entries(self, node: ir.Node, place: int, axis: int, start: int, stop: int) -> None:
        """`node` reads only entries from `start` up to `stop` of one axis."""
        self.instead(
            node,
            place,
            (axis, start, stop),
            lambda tensor: weights.slice(tensor, axis, start, stop),
        )

    def numbers(self, node: ir.Node, place: int, array: np.ndarray) -> None:
        """`node` reads these numbers instead of the constant at `place`."""
        name = node.inputs[place].name
        key = (array.dtype.name, array.shape, array.tobytes())
        self.instead(node, place, key, lambda tensor: weights.constant(array, name))

    def instead(self, node: ir.Node, place: int, key: Hashable, make: Make) -> None:
        parts = self.wanted.setdefault(node.inputs[place], {})
        parts.setdefault(key, (make, []))[1].append((node, place))

    def apply(self) -> None:
        for value, parts in self.wanted.items():
            tensor = _lazy(value)
            readers = {(use.node, use.idx) for use in value.uses()}
            [(make, places), *others] = parts.values()
            if not others and readers == set(places):
                value.const_value = weights.rename(make(tensor), value.name)
                value.shape = value.const_value.shape
                continue
            for number, (make, places) in enumerate(parts.values()):
                name = f"{value.name}.part{number}"
                made = ir.val(name, const_value=weights.rename(make(tensor), name))
                self.graph.register_initializer(made)
                for node, place in places:
                    node.replace_input_with(place, made)
            if not value.uses():
                self.graph.initializers.pop(value.name)


def _lazy(value: ir.Value) -> weights.Weight:
    tensor = value.const_value
    if isinstance(tensor, weights.Weight):
        return tensor
    return weights.constant(tensor.numpy(), value.name)
