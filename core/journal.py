"""What happens to each node of a graph while rules run over it."""

from __future__ import annotations

import copy
from typing import Any


class Journal:
    """Keeps what happens to the nodes of a graph while rules run over it."""

    def __init__(self, model):
        self.graph = model.graph
        self.names = {node: _name(node) for node in model.graph}
        self.forms = {node: _form(node) for node in model.graph}
        self.rewritten: dict[Any, str] = {}
        self.refused: dict[Any, str] = {}
        self.unlike: dict[Any, str] = {}
        self.makers: dict[Any, frozenset] = {}  # of a new node: the rules that it comes from

    def watch(self, rule):
        """A copy of `rule` whose every attempt is kept here.

        What a rule has made is not offered to it again, or one that fits its own result never ends.
        """
        watched, journal = copy.copy(rule), self
        starts = {p.op_identifier() for p in rule._target_pattern.output_nodes[:1]}
        last = {}

        def match(*arguments, **named):
            return type(rule).match(watched, *arguments, **{**named, "tracer": _Tracer(last)})

        def try_rewrite(model, container, node, **named):
            last.clear()
            makers = journal.makers.get(node, frozenset())
            if rule in makers:
                return None
            delta = type(rule).try_rewrite(watched, model, container, node, **named)
            if delta is not None:
                journal.makers.update(dict.fromkeys(delta.new_nodes, makers | {rule}))
            if container is journal.graph and node in journal.names:
                if delta is not None:
                    journal.rewritten[node] = str(rule)
                elif node.op_identifier() in starts or None in starts:
                    journal.keep(node, last)
            return delta

        watched.match, watched.try_rewrite = match, try_rewrite
        return watched

    def keep(self, node, last) -> None:
        """Files the failed attempt `last` at `node`."""
        if (result := last.get("result")) is None:
            return
        fate = self.unlike if last["status"] == "NO_MATCH" else self.refused
        fate.setdefault(node, result.reason or "no reason is given")

    def fill(self, report) -> None:
        """Everything that was kept, by the nodes' names before the rewrite."""
        names = self.names
        report.rewritten += [(names[node], what) for node, what in self.rewritten.items()]
        there = {node for node in names if node.graph is not None} - self.rewritten.keys()
        report.refused += [(names[n], why) for n, why in self.refused.items() if n in there]
        there -= self.refused.keys()
        report.unlike += [(names[n], why) for n, why in self.unlike.items() if n in there]

    def differences(self, model) -> list[tuple[str, str]]:
        """(node, what it is now) for each node of `model` that is new or reads something else."""
        changed = []
        for node in model.graph:
            if node not in self.forms or self.forms[node] != _form(node):
                changed.append((_name(node), f"{node.domain or 'ai.onnx'}::{node.op_type}"))
        return changed


class _Tracer:
    def __init__(self, last):
        self.last = last

    def log(self, rule, container, node, match_result, status):
        self.last["result"], self.last["status"] = match_result, status.name


def _name(node) -> str:
    return next((value.name for value in node.outputs if value.name), node.name or "(unnamed)")


def _form(node) -> tuple:
    attributes = tuple((key, str(value)) for key, value in node.attributes.items())
    return node.op_identifier(), tuple(map(id, node.inputs)), attributes
