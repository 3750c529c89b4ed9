"""Run one rewrite: call it, insist that it did something, clean up, verify, keep the graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.rewriter import RewritePass, RewriteRule, RewriteRuleClassBase, RewriteRuleSet

from . import spec
from .calls import PluginError
from .command import UserError
from .hookspecs import Optional, optional
from .journal import Journal
from .report import Report

__all__ = ["PassError", "Told", "dump", "optional", "run"]

INLINE_BYTES = 1024  # larger initializers are named in a kept graph, not written


class PassError(UserError):
    """A rewrite that was asked for changed nothing."""


@dataclass
class Told(ir.passes.PassResult):
    """A pass's result that says of each node it started from what became of it."""

    rewritten: list[tuple[str, str]] = field(default_factory=list)  # node, what it is now
    refused: list[tuple[str, str]] = field(default_factory=list)  # node, why
    unlike: list[tuple[str, str]] = field(default_factory=list)  # node, where it differs


def run(item: Any, model: ir.Model, plugin: str, folder: Path | None = None) -> Report:
    """What `item`, a pass, a rule or a list of rules, did to `model`; see Report.model.

    The graph is without dead nodes and legal; with `folder` it is kept there as text and ONNX.

    Raises:
        PassError: it changed nothing and is not wrapped in `optional`.
        SpecError: it left an illegal graph.
        PluginError: it is no rewrite, or failed.
    """
    required = not isinstance(item, Optional)
    item = item if required else item.item
    rewrite = _rewrite(item, plugin)
    report = Report(name=_name(item), plugin=plugin, required=required)
    journal = Journal(model)
    try:
        modified = _apply(rewrite, model, journal, report)
    except UserError:
        raise
    except (ir.passes.PassError, ValueError, TypeError, LookupError, AttributeError) as error:
        cause = error.__cause__ if isinstance(error, ir.passes.PassError) else error
        if isinstance(cause, UserError):
            raise cause from error
        raise PluginError(
            f"{plugin}: {report.name} failed: {type(cause).__name__}: {cause}; "
            "HYDRA_FULL_ERROR=1 shows where"
        ) from error
    if required and not modified:
        raise PassError(f"{plugin}: {report.name} changed nothing: {_why(rewrite, report)}")
    if modified:
        for clean in (
            common.RemoveUnusedNodesPass(),
            common.RemoveUnusedFunctionsPass(),
            common.RemoveUnusedOpsetsPass(),
        ):
            report.model = clean(report.model).model
        spec.verify(report.model, after=f"{plugin}: {report.name}")
    if folder is not None:
        dump(report.model, folder, f"{plugin}.{report.name}")
    return report


def dump(model: ir.Model, folder: Path, name: str) -> None:
    """`model` is in `folder` as ONNX and as text, numbered; large weights are only named."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.onnx")))
    stem = f"{number:02}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)[:80]}"
    kept = {}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > INLINE_BYTES:
            kept[value] = tensor
            value.const_value = ir.ExternalTensor(
                "weights.safetensors", None, None, tensor.dtype,
                shape=tensor.shape, name=value.name,
            )  # fmt: skip
    try:
        proto = ir.serde.serialize_model(model)
    finally:
        for value, tensor in kept.items():
            value.const_value = tensor
    (folder / f"{stem}.onnx").write_bytes(proto.SerializeToString())
    (folder / f"{stem}.txt").write_text(onnx.printer.to_text(proto), encoding="utf-8")


def _rewrite(item: Any, plugin: str) -> ir.passes.PassBase | list[RewriteRule]:
    """A pass, or rules that run together."""
    if isinstance(item, RewritePass):
        return list(item.rules)
    if isinstance(item, ir.passes.PassBase):
        return item
    if isinstance(item, RewriteRuleSet):
        return list(item)
    if isinstance(item, Sequence) and not isinstance(item, str) and item:
        return [_rule(part, plugin) for part in item]
    return [_rule(item, plugin)]


def _rule(item: Any, plugin: str) -> RewriteRule:
    if isinstance(item, RewriteRule):
        return item
    if isinstance(item, RewriteRuleClassBase):
        return RewriteRule(
            item.pattern,
            item.rewrite,
            item.check,
            name=item.name,
            remove_nodes=item.remove_nodes,
            graph_pre_visitor=item.setup,
            graph_post_visitor=item.cleanup,
            as_function=item.as_function,
        )
    raise PluginError(
        f"{plugin}: passes returned {getattr(item, '__name__', type(item).__name__)}; each entry "
        "must be an onnx_ir pass, an onnxscript rule or a list of rules, or core.optional of one"
    )


def _name(item: Any) -> str:
    if isinstance(item, RewritePass):
        item = list(item.rules)
    if isinstance(item, Sequence | RewriteRuleSet):
        return ", ".join(dict.fromkeys(_name(part) for part in item))
    if isinstance(item, ir.passes.PassBase):
        return type(item).__name__
    return str(getattr(item, "name", None) or type(item).__name__)


def _apply(rewrite, model: ir.Model, journal: Journal, report: Report) -> bool:
    if isinstance(rewrite, ir.passes.PassBase):
        result = rewrite(model)
        report.model = result.model
        if isinstance(result, Told):
            report.rewritten += result.rewritten
            report.refused += result.refused
            report.unlike += result.unlike
        elif result.modified:
            report.rewritten += journal.differences(result.model)
        return result.modified
    rules = RewriteRuleSet([journal.watch(rule) for rule in rewrite])
    count = rules.apply_to_model(model)
    report.model = model
    journal.fill(report)
    return bool(count)


def _why(rewrite, report: Report) -> str:
    if reasons := report.reasons():
        return reasons
    if isinstance(rewrite, ir.passes.PassBase):
        return "it found nothing to change"
    starts = sorted({start for rule in rewrite for start in _starts(rule)})
    return f"the graph has no {' or '.join(starts)}, from which it starts"


def _starts(rule: RewriteRule) -> list[str]:
    nodes = rule._target_pattern.output_nodes[:1]
    return [f"{node.domain}::{node.op}".removeprefix("::") for node in nodes]
