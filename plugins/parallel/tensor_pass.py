"""The pass that leaves a rank its part of every layer, and lets partial results meet.

It follows the values that ranks have in part from the products that begin them to the products,
reductions and outputs that end them; an op in between that it does not know is refused, so that no
value is ever taken for the whole by mistake. T tokens, D width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from core import weights
from core.command import PlanError
from core.passes import Told
from core.spec import label, operator

from . import tensor_rules
from .cuts import Cuts
from .shares import Part, Share, even, of_heads

BEGINS = re.compile(
    r"layers\.\d+\.(?:attention\.(?P<heads>[qkv])|ffn\.(?:shared\.)?(?P<ffn>gate|up))"
    r"(?:_product)?_TF"
)
HEAD = ("head_NV", "logits_NV")


class TensorParallel(ir.passes.InPlacePass):
    """MatMul(x_TD, Transpose(w_FD))  ->  the same of this rank's rows of w, or of its columns

    Partial sums go through ingot::AllReduce, logits through ingot::AllGather. Biases of norms,
    rotations, attention and caches become those of the rank's heads.
    """

    def __init__(self, rank: int, ranks: int):
        self.rank, self.ranks = rank, ranks

    def call(self, model: ir.Model) -> Told:
        told = Told(model, modified=False)
        work = Work(model.graph, self.rank, self.ranks, told)
        for node in list(model.graph):
            work.visit(node)
        work.gather_outputs()
        work.cuts.apply()
        told.modified = bool(told.rewritten)
        return told


class Work:
    """One graph while it is being shared out."""

    def __init__(self, graph: ir.Graph, rank: int, ranks: int, told: Told):
        self.graph, self.rank, self.ranks, self.told = graph, rank, ranks, told
        self.parts: dict[ir.Value, Part] = {}
        self.cuts = Cuts(graph)
        self.head_shares = self._head_shares()

    def visit(self, node: ir.Node) -> None:
        """`node` works on this rank's share, if it is one that is shared out."""
        rule = tensor_rules.RULES.get((node.domain, node.op_type))
        if node.op_type.startswith("Experts_"):
            rule = tensor_rules.experts
        if rule is None:
            if held := [v for v in node.inputs if v in self.parts]:
                raise PlanError(
                    f"{label(node)} ({operator(node)}) reads {held[0].name}, of which every rank "
                    "has a part, and parallel=tensor does not know that op; use parallel=none"
                )
            return
        name = label(node)  # before a collective takes it over
        if done := rule(self, node):
            self.told.rewritten.append((name, done))

    def begins(self, node: ir.Node) -> Share | None:
        """The share of rows of a product that begins with whole activations, or None."""
        name = node.outputs[0].name
        if name in HEAD:
            return even(node.outputs[0].shape[-1], self.rank, self.ranks, "vocab")
        if not (match := BEGINS.fullmatch(name)):
            return None
        if match["ffn"]:
            return even(node.outputs[0].shape[-1], self.rank, self.ranks, "ffn")
        layer = name.split(".attention.")[0]
        if layer not in self.head_shares:
            raise PlanError(f"{name} is read by no ingot::Attention of {layer}; use parallel=none")
        return self.head_shares[layer][match["heads"] != "q"]

    def put(self, value: ir.Value, part: Part | None) -> None:
        """Of `value` this rank has `part`; None: all of it."""
        if part is None:
            return
        self.parts[value] = part
        size = value.shape[part.axis]
        if isinstance(size, int):
            sizes = list(value.shape)
            sizes[part.axis] = part.share.size(size, value.name)
            value.shape = ir.Shape(sizes)

    def meet(self, value: ir.Value, op: str) -> ir.Value:
        """`value`, partial on every rank, is followed by an AllReduce that bears its name."""
        node = ir.node("AllReduce", [value], {"op": op}, domain="ingot")
        return self._follow(value, node, "partial")

    def gather_outputs(self) -> None:
        """Outputs of the graph are whole; caches stay with their ranks."""
        for value in list(self.graph.outputs):
            part = self.parts.get(value)
            if part is None or value.producer().op_type in tensor_rules.ATTENTION:
                continue
            attributes = {"axis": part.axis, "ranks": self.ranks}
            node = ir.node("AllGather", [value], attributes, domain="ingot")
            whole = self._follow(value, node, "part")
            sizes = list(whole.shape)
            sizes[part.axis] = sizes[part.axis] * self.ranks
            whole.shape = ir.Shape(sizes)
            self.told.rewritten.append((whole.name, f"AllGather of {self.ranks} parts"))

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """One initializer for all that ask for it by this name."""
        found = self.graph.initializers.get(name)
        if found is None:
            found = ir.val(name, const_value=weights.constant(array, name))
            self.graph.register_initializer(found)
        return found

    def _follow(self, value: ir.Value, node: ir.Node, word: str) -> ir.Value:
        """`node`, which reads `value`, stands between it and its other readers, under its name."""
        [new] = node.outputs
        new.type, new.shape, new.name = value.type, value.shape, value.name
        stem, _, dims = value.name.rpartition("_")
        value.name = f"{stem}.{word}_{dims}"
        for use in list(value.uses()):
            if use.node is not node:
                use.node.replace_input_with(use.idx, new)
        for place, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[place] = new
        self.graph.insert_after(value.producer(), node)
        return new

    def _head_shares(self) -> dict[str, tuple[Share, Share]]:
        """By layer: the rank's query heads and key/value heads."""
        found = {}
        for node in self.graph:
            if node.domain == "ingot" and node.op_type in tensor_rules.ATTENTION:
                heads, groups = (node.attributes[name].as_int() for name in ("heads", "groups"))
                layer = node.outputs[0].name.split(".attention.")[0]
                found[layer] = of_heads(heads, groups, self.rank, self.ranks)
        return found
