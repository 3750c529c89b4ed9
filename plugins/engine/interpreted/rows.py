"""Choosing the rows that want logits before the work on them, not after.

T tokens, N rows that want logits, D width.
"""

from __future__ import annotations

import onnx_ir as ir

from .fusion import DOMAIN, Fusion, Refused, Unlike, attribute

NORMS = {("", "RMSNormalization"), ("", "LayerNormalization")}
CODES = (ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E5M2)
# Ops whose every row depends on that row of their activations only.
ROWWISE = NORMS | {
    ("", "Add"), ("", "Sub"), ("", "Mul"), ("", "Div"), ("", "Cast"), ("", "Tanh"),
    ("", "Sigmoid"), ("", "Swish"), ("", "Gelu"), ("", "Relu"), ("", "Abs"), ("", "Max"),
    ("", "ReduceMax"), ("", "QuantizeLinear"), ("", "DequantizeLinear"),
    (DOMAIN, "Linear"), (DOMAIN, "ScaledLinear"), (DOMAIN, "GroupedLinear"),
    (DOMAIN, "QuantizeToken"), (DOMAIN, "Gate"), (DOMAIN, "AllReduce"),
    (DOMAIN, "TokenLargest"),
}  # fmt: skip


class RowsEarlier(Fusion):
    """Gather(f(x_TD), rows_N)  ->  f(Gather(x_TD, rows_N)), f working row by row, again and again

    So what follows the last attention is computed for N rows. Where somebody else reads f(x_TD),
    nothing would be saved.
    """

    starts = (("", "Gather"),)

    def fuse(self, node: ir.Node) -> str:
        values, rows_N = node.inputs
        if not rows_N.is_graph_input() or attribute(node, "axis", 0) != 0:
            raise Unlike(f"{rows_N.name} is no input of the graph that chooses rows")
        if values.producer() is None:
            raise Unlike(f"{values.name} is not computed")
        moved = _movable(node.graph, rows_N)
        if values.producer() not in moved:
            raise Refused(f"{values.name} has other readers, or is not made row by row")
        _move(node.graph, moved, rows_N)
        return f"{len(moved)} ops work on the rows of {rows_N.name} only"


def _movable(graph: ir.Graph, rows_N: ir.Value) -> list[ir.Node]:
    """The nodes of which nobody wants other rows, in order."""
    stay: set[ir.Node] = set()
    while True:
        moved = _readers_choose(graph, rows_N, stay)
        # Rows of codes cannot be chosen (ONNX's Gather does not take their types), so who reads
        # codes is moved with whoever made them, or not at all.
        torn = {n for n in moved if any(v.producer() not in moved for v in _codes(n))}
        if not torn:
            return list(reversed(moved))
        stay |= torn


def _readers_choose(graph: ir.Graph, rows_N: ir.Value, stay: set[ir.Node]) -> dict[ir.Node, None]:
    """Nodes whose readers all choose rows, or are such nodes; the last first."""
    moved: dict[ir.Node, None] = {}
    for node in reversed(graph):
        if node in stay or not _works_by_row(node):
            continue
        if any(value.is_graph_output() for value in node.outputs):
            continue
        readers = [reader for value in node.outputs for reader in value.consumers()]
        if readers and all(r in moved or _chooses(r, rows_N) for r in readers):
            moved[node] = None
    return moved


def _codes(node: ir.Node) -> list[ir.Value]:
    """The computed inputs of `node` whose rows cannot be chosen."""
    computed = [v for v in node.inputs if v is not None and not v.is_initializer()]
    return [value for value in computed if value.dtype in CODES]


def _works_by_row(node: ir.Node) -> bool:
    if (node.domain, node.op_type) not in ROWWISE:
        return False
    shape = node.outputs[0].shape
    if not len(shape) or isinstance(shape[0], int):
        return False
    if (node.domain, node.op_type) in NORMS and attribute(node, "axis", -1) % len(shape) == 0:
        return False
    if (node.domain, node.op_type) == ("", "ReduceMax") and not _within_rows(node):
        return False
    computed = [v for v in node.inputs if v is not None and not v.is_initializer()]
    return all(len(value.shape) and value.shape[0] == shape[0] for value in computed)


def _within_rows(node: ir.Node) -> bool:
    """Whether a reduction leaves the first axis alone."""
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None or not axes.is_initializer():
        return False
    rank = len(node.inputs[0].shape)
    return all(axis % rank for axis in axes.const_value.numpy().reshape(-1).tolist())


def _chooses(node: ir.Node, rows_N: ir.Value) -> bool:
    """Whether `node` is Gather(…, rows_N)."""
    return (
        (node.domain, node.op_type) == ("", "Gather")
        and node.inputs[1] is rows_N
        and attribute(node, "axis", 0) == 0
    )


def _move(graph: ir.Graph, moved: list[ir.Node], rows_N: ir.Value) -> None:
    """`moved` work on chosen rows, and nobody chooses from what they make."""
    chosen: dict[ir.Value, ir.Value] = {}
    members = set(moved)
    for node in moved:
        for place, value in enumerate(node.inputs):
            if value is None or value.is_initializer() or value.producer() in members:
                continue
            if value not in chosen:
                chosen[value] = _rows(graph, node, value, rows_N)
            node.replace_input_with(place, chosen[value])
    for node in moved:
        for value in node.outputs:
            value.shape = ir.Shape([rows_N.shape[0], *value.shape[1:]])
            value.name = _by_row(graph, value)
            for reader in list(value.consumers()):
                if _chooses(reader, rows_N):
                    ir.convenience.replace_all_uses_with(
                        reader.outputs[0], value, replace_graph_outputs=True
                    )
                    value.name, name = reader.outputs[0].name, value.name
                    reader.outputs[0].name = name
                    graph.remove(reader, safe=True)


def _rows(graph: ir.Graph, before: ir.Node, value: ir.Value, rows_N: ir.Value) -> ir.Value:
    """The chosen rows of `value`."""
    node = ir.node("Gather", [value, rows_N], {"axis": 0})
    [output] = node.outputs
    output.type, output.shape = value.type, ir.Shape([rows_N.shape[0], *value.shape[1:]])
    output.name = _by_row(graph, value, ".rows")
    graph.insert_before(before, node)
    return output


def _by_row(graph: ir.Graph, value: ir.Value, mark: str = "") -> str:
    """The name of `value` with N for its tokens: x_TD becomes x_ND."""
    stem, line, dims = value.name.rpartition("_")
    if line and dims.isupper() and dims[0] == "T":
        name = f"{stem}{mark}_N{dims[1:]}"
        taken = any(output.name == name for node in graph for output in node.outputs)
        if not taken and name not in graph.initializers:
            return name
    return value.name + mark
