"""plan.txt: the lowered graph as lines for the runtime. The grammar: docs/design.md, section 5."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from core.linear_form import LinearForm
from core.op_line import dtype_word, op_line
from core.ops import Row, Rows
from core.shapes import forms
from core.spec import label

from .coverage import attributes

LARGEST_CONSTANT = 1024  # integers in a line; more are a weight
ROWS = 128  # most rows of logits in a step, where there are no more sequences


class PlanText:
    """The lines for one graph, and the memory that its activations need at the largest step."""

    def __init__(self, model: ir.Model, plan, libraries: Mapping[str, str]):
        self.graph, self.plan, self.libraries = model.graph, plan, libraries
        self.facts = json.loads(model.metadata_props["ingot.model"])
        self.groups = json.loads(model.metadata_props.get("ingot.cache_groups", "[]"))
        self.rows = Rows()
        self.nodes = list(model.graph)
        self.states = self._states()
        self.lives = self._lives()
        self.largest = self._largest()

    def lines(self) -> Iterator[str]:
        sizes = " ".join(f"{word}={self.largest[word]}" for word in "TSNQM")
        yield "ingot-plan 1"
        yield f"max {sizes} L={self.facts['max_length']}"
        yield f"vocab {self.facts['vocab']}"
        for library in self.libraries.values():
            yield f"library {library}"
        yield from self._cache()
        yield from self._constants()
        yield "function step"
        for value in self.graph.inputs:
            if value.uses() and value not in self.states:
                yield f"field {value.name} {_typed(value)}"
        for value, (first, last) in self.lives.items():
            yield f"value {value.name} {_typed(value)} life={first}:{last}"
        for node in self.nodes:
            yield self._op(node)
        for value in self.graph.outputs:
            if value not in self.states:
                yield f"output {value.name} {_typed(value)}"
        yield "end"

    def activation_bytes(self) -> int:
        """The most bytes that live at the same time; the runtime needs a little more."""
        sizes = {value: self._bytes(value) for value in self.lives}
        changes = [0] * (len(self.nodes) + 1)
        for value, (first, last) in self.lives.items():
            changes[first] += sizes[value]
            changes[last + 1] -= sizes[value]
        most = held = 0
        for change in changes:
            held += change
            most = max(most, held)
        return most

    def _largest(self) -> dict[str, int]:
        """The sizes of the largest step."""
        plan, page = self.plan, [group["page_tokens"] for group in self.groups] or [1]
        tokens, sequences = plan.max_tokens, plan.max_sequences
        rows = min(tokens, max(sequences, ROWS))
        columns = -(-self.facts["max_length"] // max(1, min(page)))
        return {"T": tokens, "S": sequences, "N": rows, "Q": tokens, "M": columns, "P": 0}

    def _states(self) -> dict[ir.Value, str]:
        """The name of the state that each input of a cache, and each output made of one, is."""
        caches = {name for group in self.groups for name in group["tensors"]}
        states = {value: value.name for value in self.graph.inputs if value.name in caches}
        for node in self.nodes:
            for place, value in enumerate(node.outputs):
                argument = self._row(node).output(place)
                source = argument.alias if argument is not None else -1
                if 0 <= source < len(node.inputs) and node.inputs[source] in states:
                    states[value] = states[node.inputs[source]]
        return states

    def _lives(self) -> dict[ir.Value, tuple[int, int]]:
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

    def _cache(self) -> Iterator[str]:
        inputs = {value.name: value for value in self.graph.inputs}
        for group in self.groups:
            yield (
                f"group {group['name']} kind={group['kind']} page={group['page_tokens']} "
                f"window={group['window']} sharded={int(group['sharded'])}"
            )
            for name in group["tensors"]:
                dtype, dims = _typed(inputs[name]).split(" ")
                yield f"state {name} group={group['name']} dtype={dtype} dims={dims}"

    def _constants(self) -> Iterator[str]:
        for value in self.graph.initializers.values():
            if is_host_constant(value):
                numbers = value.const_value.numpy().reshape(-1).tolist()
                count = len(numbers) if len(value.const_value.shape) else "scalar"
                said = ",".join(map(str, numbers)) or "-"
                yield f"const {value.name} {dtype_word(value.const_value.dtype)} {count} {said}"
            elif value.uses():
                yield f"weight {value.name} {_typed(value)}"

    def _op(self, node: ir.Node) -> str:
        row = self._row(node)
        version = self.graph.opset_imports.get("") if row.domain == "" else row.version
        inputs = [None if value is None else self._name(value) for value in node.inputs]
        outputs = [self._name(value) if value.name else None for value in node.outputs]
        return op_line(row, label(node), inputs, outputs, attributes(node, row), version)

    def _name(self, value: ir.Value) -> str:
        return self.states.get(value, value.name)

    def _row(self, node: ir.Node) -> Row:
        return self.rows.row(node.domain, node.op_type)

    def _bytes(self, value: ir.Value) -> int:
        count = math.prod(form.at(self.largest) for form in forms(value))
        return math.ceil(count * value.dtype.itemsize)


def is_host_constant(value: ir.Value) -> bool:
    """Whether an initializer is a few integers, which stand in the plan itself."""
    tensor = value.const_value
    integer = tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32)
    return integer and len(tensor.shape) < 2 and math.prod(tensor.shape) <= LARGEST_CONSTANT


def _typed(value: ir.Value) -> str:
    """The type and the sizes of a value."""
    return f"{dtype_word(value.dtype)} {_sizes(forms(value))}"


def _sizes(sizes: Sequence[LinearForm]) -> str:
    return ",".join(map(str, sizes)) or "scalar"
