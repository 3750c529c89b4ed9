"""Whether the engine has an op for every node of a graph; all that it lacks is told at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import onnx
import onnx_ir as ir

from core.command import PlanError
from core.op_line import WORDS
from core.ops import Argument, Row, Rows
from core.spec import label, operator

FILE_TYPES = set(WORDS)  # of weights; the runtime knows no others
# Inputs that the runtime makes for a step: kernels/runtime/step_fields.h.
FIELD = re.compile(
    r"ids_T|positions_T|sequences_T|rows_N|slots_S|starts_S1|cached_S|pages\d+_SM|cells\d+_T"
    r"|embeddings_TD"
)


ENGINES = {"cpu": "the CPU engine", "cuda": "the CUDA engine"}
# What an engine does itself: the output lies where the input lies.
VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")


def check(model: ir.Model, engine: str) -> None:
    """Raises a PlanError that names every node and weight that `engine` cannot take."""
    if wrong := lacks(model, engine):
        raise PlanError("\n".join(f"{ENGINES[engine]} cannot run this graph: {w}" for w in wrong))


def lacks(model: ir.Model, engine: str) -> list[str]:
    """A sentence for each thing in the graph that `engine` cannot take."""
    rows = Rows()
    wrong = list(_without_row(model.graph, rows))
    for node in model.graph:
        if row := rows.row(node.domain, node.op_type):
            wrong += [f"{label(node)} ({operator(node)}): {why}" for why in _misfits(node, row)]
    if engine == "cuda":
        wrong += _without_cuda(model.graph, rows)
    wrong += _strange_constants(model.graph)
    wrong += _strange_ends(model)
    return wrong


def _without_row(graph: ir.Graph, rows: Rows) -> Iterator[str]:
    lacking: dict[str, list[str]] = {}
    for node in graph:
        if rows.row(node.domain, node.op_type) is None:
            lacking.setdefault(operator(node), []).append(label(node))
    for kind, names in lacking.items():
        yield (
            f"it has no kernel for {kind}, which {_few(names)} use; write it in ops "
            "that docs/ops.md lists, or bring an op_library with it"
        )


def _without_cuda(graph: ir.Graph, rows: Rows) -> Iterator[str]:
    """Nodes without a kernel for CUDA, or with types that it does not take there."""
    lacking: dict[str, list[str]] = {}
    for node in graph:
        row = rows.row(node.domain, node.op_type)
        if row is None or (not row.domain and row.name in VIEWS):
            continue
        if any(kernel.device == "cuda" for kernel in row.kernels):
            continue  # a stranger's op with a kernel of its own
        if row.cuda is None:
            lacking.setdefault(operator(node), []).append(label(node))
            continue
        for place, value in enumerate(node.inputs):
            argument = row.input(place)
            if value is None or argument is None or argument.name not in row.cuda:
                continue
            if WORDS.get(int(value.dtype)) not in row.cuda[argument.name]:
                yield (
                    f"{label(node)} ({operator(node)}): {argument.name} {value.name} is "
                    f"{value.dtype.name}, on CUDA it takes {', '.join(row.cuda[argument.name])}; "
                    "build with another dtype, or with engine=cpu"
                )
    for kind, names in lacking.items():
        yield f"it has no kernel for {kind}, which {_few(names)} use; build with engine=cpu"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _misfits(node: ir.Node, row: Row) -> Iterator[str]:
    for place, value in enumerate(node.inputs):
        argument = row.input(place)
        if argument is None:
            yield f"it has {len(node.inputs)} inputs, the op takes {len(row.inputs)}"
            return
        if value is not None:
            yield from _misfit(value, argument)
    known = {attribute.name for attribute in row.attributes}
    for attribute in node.attributes.values():
        if attribute.name not in known and not _is_default(node, attribute):
            yield (
                f"no kernel takes {attribute.name}={attribute.value} "
                f"(it takes: {', '.join(sorted(known)) or 'none'})"
            )


def _misfit(value: ir.Value, argument: Argument) -> Iterator[str]:
    word = WORDS.get(int(value.dtype))
    if word is None or (argument.dtypes and word not in argument.dtypes):
        takes = ", ".join(argument.dtypes or WORDS.values())
        yield f"{argument.name} {value.name} is {value.dtype.name}, it takes {takes}"
    if argument.role in ("host", "weight") and not value.is_initializer():
        changes = "changes with the step" if argument.role == "host" else "is computed as it runs"
        yield f"{argument.name} {value.name} {changes}, it must be a constant"


def _is_default(node: ir.Node, attribute: ir.Attr) -> bool:
    """Whether ONNX would take this value for the attribute if it were absent."""
    version = node.graph.opset_imports.get(node.domain)
    if version is None or not onnx.defs.has(node.op_type, version, node.domain):
        return False
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    said = schema.attributes.get(attribute.name)
    if said is None or not said.default_value.name:
        return False
    default = onnx.helper.get_attribute_value(said.default_value)
    default = default.decode() if isinstance(default, bytes) else default
    return default == attribute.value


def _strange_constants(graph: ir.Graph) -> Iterator[str]:
    for value in graph.initializers.values():
        tensor = value.const_value
        if int(tensor.dtype) not in FILE_TYPES:
            types = ", ".join(WORDS.values())
            yield f"the constant {value.name} is {tensor.dtype.name}, it holds {types}; cast it"
        elif tensor.dtype.bitwidth < 8 and (not len(tensor.shape) or tensor.shape[-1] % 2):
            yield f"{value.name} is {tensor.dtype.name} {tensor.shape}: rows must be whole bytes"


def _strange_ends(model: ir.Model) -> Iterator[str]:
    """Inputs that nobody fills, outputs that nobody computes."""
    groups = json.loads(model.metadata_props.get("ingot.cache_groups", "[]"))
    caches = {name for group in groups for name in group["tensors"]}
    for value in model.graph.inputs:
        if value.uses() and value.name not in caches and not FIELD.fullmatch(value.name):
            yield f"the runtime has nothing to put into the graph's input {value.name}"
    for value in model.graph.outputs:
        if value.producer() is None:
            yield f"the graph's output {value.name} is computed by no node"
