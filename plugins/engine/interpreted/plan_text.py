"""plan.txt: the lowered graph as lines for the runtime. The grammar: docs/design.md, section 5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from core.linear_form import LinearForm
from core.made_weight import MadeWeight
from core.memory import Memory, is_host_constant
from core.op_line import dtype_word
from core.shapes import forms
from core.spec import label


class PlanText:
    """The lines for one graph, whose sizes and lives `memory` knows; `made`: weights not stored."""

    def __init__(
        self, memory: Memory, libraries: Mapping[str, str], made: Mapping[str, MadeWeight]
    ):
        self.memory, self.graph, self.libraries = memory, memory.graph, libraries
        self.made = made
        self.facts, self.groups, self.nodes = memory.facts, memory.groups, memory.nodes
        self.states, self.lives, self.largest = memory.states, memory.lives, memory.largest

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
                made = self.made.get(value.name)
                yield f"weight {value.name} {_typed(value)}" + (f" {made.words()}" if made else "")

    def _op(self, node: ir.Node) -> str:
        return self.memory.line(node, label(node))


def _typed(value: ir.Value) -> str:
    """The type and the sizes of a value."""
    return f"{dtype_word(value.dtype)} {_sizes(forms(value))}"


def _sizes(sizes: Sequence[LinearForm]) -> str:
    return ",".join(map(str, sizes)) or "scalar"
