"""A rewrite that starts from every node of one op, and says of each what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from core import weights
from core.passes import Told

DOMAIN = "ingot"


class Refused(Exception):
    """The node begins the pattern, but may not be rewritten: the message says why."""


class Unlike(Exception):
    """The node is not a part of the pattern: the message says where it differs."""


class Fusion(ir.passes.InPlacePass):
    """Calls `fuse` with every node whose op is one of `starts`, in order."""

    starts: ClassVar[tuple[tuple[str, str], ...]]

    def fuse(self, node: ir.Node) -> str:
        """Rewrites `node` and says what it is now.

        Raises:
            Refused, Unlike: nothing was changed.
        """
        raise NotImplementedError

    def call(self, model: ir.Model) -> Told:
        told = Told(model, modified=False)
        for node in list(model.graph):
            if node.graph is None or (node.domain, node.op_type) not in self.starts:
                continue
            name = node.outputs[0].name
            try:
                told.rewritten.append((name, self.fuse(node)))
            except Refused as reason:
                told.refused.append((name, str(reason)))
            except Unlike as reason:
                told.unlike.append((name, str(reason)))
        told.modified = bool(told.rewritten)
        return told


def producer(value: ir.Value | None, *ops: str, domain: str = "") -> ir.Node | None:
    """The node that makes `value`, if it is one of `ops`."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.domain == domain and node.op_type in ops else None


def attribute(node: ir.Node, name: str, default):
    found = node.attributes.get(name)
    return default if found is None else found.value


def only_reader(value: ir.Value, node: ir.Node) -> None:
    """Raises Refused where somebody else than `node` reads `value`."""
    others = [other for other in value.consumers() if other is not node]
    if others:
        raise Refused(f"{value.name} is also read by {others[0].outputs[0].name}")
    if value.is_graph_output():
        raise Refused(f"{value.name} is an output of the graph")


def constant(graph: ir.Graph, tensor: weights.Weight, name: str) -> ir.Value:
    """`tensor` as an initializer called `name`."""
    value = ir.val(name, const_value=weights.rename(tensor, name))
    graph.register_initializer(value)
    return value


def replace(
    olds: Sequence[ir.Node], news: Sequence[ir.Node], values: Sequence[tuple[ir.Value, ir.Value]]
) -> None:
    """`news` stand where olds[0] stood; each (old, new) of `values` is exchanged."""
    ir.convenience.replace_nodes_and_values(
        olds[0].graph, olds[0], olds, news, [old for old, _ in values], [new for _, new in values]
    )


def merged_name(names: Sequence[str]) -> str:
    """One name for what several are put together to: a.q_FD and a.k_FD make a.qk_FD."""
    stems, ends = zip(*(_stem(name) for name in names), strict=True)
    parts = [stem.split(".") for stem in stems]
    if len(set(map(len, parts))) != 1:
        parts = [[stem] for stem in stems]
    joined = []
    for column in zip(*parts, strict=True):
        alike = len(set(column)) == 1
        letters = all(len(part) == 1 for part in column)
        joined.append(column[0] if alike else ("" if letters else "_").join(column))
    return ".".join(joined) + ends[0]


def _stem(name: str) -> tuple[str, str]:
    """A name without its dimensions, and these with their underscore."""
    stem, mark, dims = name.rpartition("_")
    return (stem, f"_{dims}") if mark and dims.isupper() else (name, "")
