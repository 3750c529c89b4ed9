"""Shapes that a graph computes, where they can be known before it runs.

Some exporters take a shape apart and put it together again as the graph runs. On this engine shapes
are constants that live on the host; one size of a Reshape may change with the step.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from core import shapes, weights
from core.passes import Told

from .fusion import Refused, attribute, constant

# What these make of sizes is linear in them or a choice of them: what is the same for all steps
# that were tried is the same for every step.
SMOOTH = (
    "Shape", "Size", "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Cast",
    "Identity", "Split", "Add", "Sub", "Mul", "Neg",
)  # fmt: skip
LARGEST_FOLD = 1 << 20  # elements of a ConstantOfShape or a Range


class ComputedShapes(ir.passes.InPlacePass):
    """Reshape(x, Concat(Shape(…), …))  ->  Reshape(x, [-1, 64]); Expand alike

    Shape, Size, ConstantOfShape, Range and what is made of them are constants where no step
    changes them.
    """

    def call(self, model: ir.Model) -> Told:
        told = Told(model, modified=False)
        graph = model.graph
        if not any(node.op_type in ("Shape", "Size", "ConstantOfShape", "Range") for node in graph):
            return told
        known = shapes.facts(model)
        smooth = set(graph.initializers.values())
        for node in list(graph):
            name = node.outputs[0].name
            try:
                what = self._folded(graph, node, known, smooth) or self._resized(graph, node)
                if what:
                    told.rewritten.append((name, what))
            except Refused as reason:
                told.refused.append((name, str(reason)))
        told.modified = bool(told.rewritten)
        return told

    def _folded(self, graph: ir.Graph, node: ir.Node, known, smooth: set[ir.Value]) -> str:
        """A constant in the place of `node`, or ""."""
        if node.domain or any(value.is_graph_output() for value in node.outputs):
            return ""
        inputs = [value for value in node.inputs if value is not None]
        of_shapes = node.op_type in ("Shape", "Size")
        fixed = bool(inputs) and all(value.is_initializer() for value in inputs)
        if node.op_type in SMOOTH and (of_shapes or all(value in smooth for value in inputs)):
            smooth.update(node.outputs)
        elif not fixed:
            return ""
        arrays = [_same(known.get(value)) for value in node.outputs]
        if fixed and len(arrays) == 1 and arrays[0] is None:
            arrays = [_filled(node)]
        if not arrays or any(array is None for array in arrays):
            return ""
        for value, array in zip(node.outputs, arrays, strict=True):
            name, value.name = value.name, f"{value.name}.computed"
            new = constant(graph, weights.constant(array, name), name)
            ir.convenience.replace_all_uses_with(value, new)
            smooth.add(new)
        return f"a constant {[int(n) for n in arrays[0].reshape(-1)[:8]]}"

    def _resized(self, graph: ir.Graph, node: ir.Node) -> str:
        """A constant target for a Reshape or an Expand, or ""."""
        if node.domain or node.op_type not in ("Reshape", "Expand"):
            return ""
        x, target = node.inputs
        if target.is_initializer():
            return ""
        sizes = list(node.outputs[0].shape)
        found = _reshaped(x, sizes) if node.op_type == "Reshape" else _expanded(x, sizes)
        if found is None:
            raise Refused(
                f"its shape {node.outputs[0].shape} has more sizes that change with the step "
                "than a constant target can say; give it one at most"
            )
        name = f"{node.outputs[0].name}.target"
        made = weights.constant(np.array(found, np.int64), name)
        node.replace_input_with(1, constant(graph, made, name))
        node.attributes.pop("allowzero", None)
        return f"{node.op_type} to {found}"


def _same(facts) -> np.ndarray | None:
    """The integers that a value holds with every binding, if they are always the same."""
    if not facts or facts[0] is None or facts[0].data is None:
        return None
    if any(fact is None or fact[:3] != facts[0][:3] for fact in facts):
        return None
    array = facts[0].array()
    return None if array.dtype == np.bool_ else array


def _filled(node: ir.Node) -> np.ndarray | None:
    """What a ConstantOfShape or a Range of constants makes, unless it is large."""
    if node.op_type not in ("ConstantOfShape", "Range"):
        return None
    given = [value.const_value.numpy() for value in node.inputs]
    if node.op_type == "Range":
        made = np.arange(*given, dtype=given[0].dtype)
    else:
        value = attribute(node, "value", None)
        filler = np.zeros(1, np.float32) if value is None else value.numpy()
        if np.prod(given[0], dtype=np.float64) > LARGEST_FOLD:
            return None
        made = np.full(given[0], filler.reshape(()), filler.dtype)
    return made if made.size <= LARGEST_FOLD else None


def _reshaped(x: ir.Value, sizes: list) -> list[int] | None:
    """The target of a Reshape: -1, or 0 for a size of `x`, where it changes with the step."""
    changing = [place for place, size in enumerate(sizes) if not isinstance(size, int)]
    if len(changing) > 1:
        kept = [p for p in changing if p < len(x.shape) and x.shape[p] == sizes[p]]
        changing = [place for place in changing if place not in kept]
    else:
        kept = []
    if len(changing) > 1:
        return None
    target = [size if isinstance(size, int) else -1 for size in sizes]
    for place in kept:
        target[place] = 0
    return target


def _expanded(x: ir.Value, sizes: list) -> list[int] | None:
    """The target of an Expand: 1 where `x` has that size already."""
    own = [1] * (len(sizes) - len(x.shape)) + list(x.shape)
    target = [1 if size == mine else size for size, mine in zip(sizes, own, strict=True)]
    return target if all(isinstance(size, int) for size in target) else None
