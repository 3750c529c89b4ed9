"""The sentence for an op that does something unknown with what every rank has in part."""

from __future__ import annotations

import onnx_ir as ir

from core.command import PlanError
from core.spec import label, operator


def unknown(node: ir.Node, value: ir.Value) -> PlanError:
    return PlanError(
        f"{label(node)} ({operator(node)}) does with {value.name}, of which every rank has a part, "
        "what parallel=tensor does not know; use parallel=none"
    )
