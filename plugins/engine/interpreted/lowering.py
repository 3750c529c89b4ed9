"""A rank's folder: graph.onnx, weights.safetensors, plan.txt, tokens.bin, and facts of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx_ir as ir

from core import made_weight, manifest, shapes, weights
from core.memory import Memory
from core.op_line import dtype_word
from core.ops import Rows

from . import coverage, graph_file, token_file, weight_file
from .plan_text import PlanText

WEIGHTS = "weights.safetensors"


def lower(plan, model: ir.Model, out: Path, engine: str, because: str = "") -> None:
    """The folder `out` holds all that the runtime reads of this rank.

    `because` says why `engine` was taken, where the config left it open.

    Raises:
        PlanError: names everything in the graph that the engine cannot run.
    """
    shapes.infer(model)
    coverage.check(model, engine)
    libraries = _libraries(model, out)
    memory = Memory(model, plan)
    stored, made = made_weight.split(memory.weights, engine)
    text = PlanText(memory, libraries, made)
    (out / "plan.txt").write_text("".join(f"{line}\n" for line in text.lines()), encoding="utf-8")
    if tokenizer := next((f for f in plan.files if f.name == token_file.NAME), None):
        token_file.write(out / "tokens.bin", tokenizer)
    written = weight_file.write(out / WEIGHTS, stored)
    graph_file.write(out / "graph.onnx", model, WEIGHTS, written.offsets(), made)
    said = {
        "engine": {"name": engine, "library": None} | ({"because": because} if because else {}),
        "tensors": {tensor.name: _entry(tensor, written) for tensor in memory.weights},
        "files": {WEIGHTS: {"sha256": written.sha256}},
        "header_sha256": written.header_sha256,
        "memory": memory.ledger(),
    }
    (out / manifest.SIDECAR).write_text(json.dumps(said), encoding="utf-8")


def _entry(tensor: weights.Weight, written: weight_file.WeightFile) -> dict:
    """What the manifest says of one tensor; `made`: when the engine is opened, from its recipe."""
    stored = written.tensors.get(tensor.name)
    return {
        "dtype": dtype_word(tensor.dtype),
        "shape": list(tensor.shape),
        "bytes": tensor.nbytes,
        "recipe": tensor.recipe,
        **({"sha256": stored.digest.hexdigest()} if stored else {"made": True}),
    }


def _libraries(model: ir.Model, out: Path) -> dict[str, str]:
    """Strangers' op libraries that the graph needs, copied into `out`: path, name there."""
    rows, names = Rows(), {}
    for node in model.graph:
        library = rows.row(node.domain, node.op_type).library
        if library is not None and library not in names:
            names[library] = f"ops{len(names)}.so"
            shutil.copyfile(library, out / names[library])
    return names
