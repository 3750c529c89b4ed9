"""What one rank needs, from its lowered graph alone: weights, cache, activations of a step.

Sizes are exact, and no weight is read. The activations are the most bytes that live at the same
time in the largest step; the runtime places them in one block, which may need a little more where
it cannot fill every gap.
"""

from __future__ import annotations

import json
import math
from functools import cached_property
from typing import Any

import onnx_ir as ir

from . import manifest, op_workspace, weights
from .command import PlanError
from .op_line import dtype_word, of_row, op_line
from .ops import Row, Rows
from .recipes import Weight
from .shapes import forms
from .spec import label, operator

LARGEST_CONSTANT = 1024  # integers that stand in the plan itself; more are a weight
ROWS = 128  # most rows of logits in a step, where there are no more sequences


class Memory:
    """The memory of `model`, a rank's graph with its shapes, in steps as large as `plan` says."""

    def __init__(self, model: ir.Model, plan):
        self.model, self.graph, self.plan = model, model.graph, plan
        self.facts = json.loads(model.metadata_props["ingot.model"])
        self.groups = json.loads(model.metadata_props.get("ingot.cache_groups", "[]"))
        self.rows = Rows()
        self.nodes = list(model.graph)
        self._asked: dict[tuple, int] = {}

    def ledger(self) -> dict[str, int]:
        """In bytes, as it stands in the manifest."""
        groups = manifest.cache_groups(self.model)
        paged = [group for group in groups if group["page_tokens"]]
        return {
            "weights": sum(tensor.nbytes for tensor in self.weights),
            "cache, a token": sum(
                math.ceil(group["bytes_per_page"] / group["page_tokens"]) for group in paged
            ),
            "cache, a page of every group": sum(group["bytes_per_page"] for group in groups),
            "activations, at most about": self.activation_bytes(),
        }

    def activation_bytes(self) -> int:
        """The most bytes that live at the same time, with what kernels need beside their tensors.

        The kernels are those that this machine would take.
        """
        sizes = {value: self._bytes(value) for value in self.lives}
        changes = [0] * (len(self.nodes) + 1)
        for value, (first, last) in self.lives.items():
            changes[first] += sizes[value]
            changes[last + 1] -= sizes[value]
        most = held = 0
        for node, change in zip(self.nodes, changes, strict=False):
            held += change
            most = max(most, held + self._workspace(node))
        return most

    def field_bytes(self) -> int:
        """The tensors of the step message that the graph reads, at the largest step."""
        fields = [v for v in self.graph.inputs if v.uses() and v not in self.states]
        return sum(self._bytes(value) for value in fields)

    def values(self) -> list[dict[str, Any]]:
        """Every activation: its type, sizes in words, bytes and life, in the order it is made."""
        return [
            {
                "name": value.name,
                "dtype": dtype_word(value.dtype),
                "dims": ",".join(map(str, forms(value))) or "scalar",
                "bytes": self._bytes(value),
                "life": list(life),
            }
            for value, life in self.lives.items()
        ]

    def device(self) -> str:
        """Where all of it lies: `host` unless some op has no kernel for the CPU."""
        kernels = {node.op_identifier(): self.row(node).kernels for node in self.nodes}
        on_cpu = [any(kernel.device == "cpu" for kernel in found) for found in kernels.values()]
        return "host" if all(on_cpu) else "device"

    @cached_property
    def weights(self) -> list[Weight]:
        """What the weight file must hold, in the order in which ops read it."""
        found: dict[ir.Value, None] = {}
        for node in self.nodes:
            for value in node.inputs:
                if value is None or value in found or not value.is_initializer():
                    continue
                if not is_host_constant(value):
                    found[value] = None
        return [weights.rename(weights.lazy(value), value.name) for value in found]

    @cached_property
    def largest(self) -> dict[str, int]:
        """The sizes of the largest step."""
        plan, page = self.plan, [group["page_tokens"] for group in self.groups] or [1]
        tokens, sequences = plan.max_tokens, plan.max_sequences
        rows = min(tokens, max(sequences, ROWS))
        columns = -(-self.facts["max_length"] // max(1, min(page)))
        return {"T": tokens, "S": sequences, "N": rows, "Q": tokens, "M": columns, "P": 0}

    @cached_property
    def states(self) -> dict[ir.Value, str]:
        """The name of the state that each input of a cache, and each output made of one, is."""
        caches = {name for group in self.groups for name in group["tensors"]}
        states = {value: value.name for value in self.graph.inputs if value.name in caches}
        for node in self.nodes:
            for place, value in enumerate(node.outputs):
                argument = self.row(node).output(place)
                source = argument.alias if argument is not None else -1
                if 0 <= source < len(node.inputs) and node.inputs[source] in states:
                    states[value] = states[node.inputs[source]]
        return states

    @cached_property
    def lives(self) -> dict[ir.Value, tuple[int, int]]:
        """The first and last node that touches each activation, in the order they are made."""
        order = {node: place for place, node in enumerate(self.nodes)}
        lives = {}
        for node in self.nodes:
            for value in node.outputs:
                if value.name == "" or value in self.states:
                    continue
                last = max([order[reader] for reader in value.consumers()], default=order[node])
                last = len(self.nodes) - 1 if value.is_graph_output() else last
                lives[value] = (order[node], last)
        return lives

    def line(self, node: ir.Node, name: str) -> str:
        """The node as a line of plan.txt."""
        row = self.row(node)
        inputs = [None if value is None else self._name(value) for value in node.inputs]
        outputs = [self._name(value) if value.name else None for value in node.outputs]
        return op_line(row, name, inputs, outputs, of_row(node, row), self._version(row))

    def _name(self, value: ir.Value) -> str:
        return self.states.get(value, value.name)

    def _workspace(self, node: ir.Node) -> int:
        """Bytes that the node's kernel needs; nodes of equal layers are asked for once."""
        row = self.row(node)
        names = [None if value is None else f"i{i}" for i, value in enumerate(node.inputs)]
        outputs = [f"o{i}" if value.name else None for i, value in enumerate(node.outputs)]
        try:
            line = op_line(row, "op", names, outputs, of_row(node, row), self._version(row))
            inputs = [None if value is None else self._input(value) for value in node.inputs]
            key = (line, tuple(given and given[:2] for given in inputs))
            if key not in self._asked:
                self._asked[key] = op_workspace.needed(line, inputs, len(outputs), row.library)
        except ValueError as error:
            raise PlanError(f"{label(node)} ({operator(node)}) cannot run: {error}") from error
        return self._asked[key]

    def _version(self, row: Row) -> int | None:
        return self.graph.opset_imports.get("") if row.domain == "" else row.version

    def _input(self, value: ir.Value) -> op_workspace.Input:
        """Type and sizes of a value at the largest step; the data of a few integers."""
        shape = tuple(form.at(self.largest) for form in forms(value))
        constant = value.is_initializer() and is_host_constant(value)
        return dtype_word(value.dtype), shape, value.const_value.numpy() if constant else None

    def row(self, node: ir.Node) -> Row:
        """The row of the node's op.

        Raises:
            PlanError: it has none.
        """
        row = self.rows.row(node.domain, node.op_type)
        if row is None:
            raise PlanError(
                f"{label(node)} uses {operator(node)}, for which there is no kernel, so no engine "
                "can be planned; docs/ops.md lists what there is, an op_library brings more"
            )
        return row

    def _bytes(self, value: ir.Value) -> int:
        count = math.prod(form.at(self.largest) for form in forms(value))
        return math.ceil(count * value.dtype.itemsize)


def is_host_constant(value: ir.Value) -> bool:
    """Whether an initializer is a few integers, which stand in the plan itself."""
    tensor = value.const_value
    integer = tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32)
    return integer and len(tensor.shape) < 2 and math.prod(tensor.shape) <= LARGEST_CONSTANT
