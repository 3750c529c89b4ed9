"""The graph after each pass, as text, for two presets: tests/golden/<preset>-<quant>.<step>.txt.

INGOT_GOLDEN=1 writes the files anew; what changed is then for the diff to show. A refactoring
leaves them as they are.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import initialize_config_module

from core import calls, checkpoint, composition, ops, passes, search_path, spec
from core.build import random_config
from core.hookspecs import RANKED, WHOLE
from core.resolution import errors as plan_errors
from core.resolution import resolve

FOLDER = Path(__file__).parent / "golden"
BUILDS = {"llama2": "fp8", "mistral": "none"}


def stages(preset: str, quant: str):
    """(name, graph as text) of the smallest published shape: as written, and after each pass."""
    search_path.register()
    overrides = [f"model={preset}", "model.size=tiny", "checkpoint=random", f"quant={quant}"]
    with initialize_config_module("conf", version_base="1.3"):
        cfg = composition.activated(composition.configured("build", overrides, plan_errors))
        plan, plugins = resolve(cfg)
    ops.register(calls.op_libraries(plugins))
    weights = checkpoint.open_checkpoint(plan.checkpoint, random_config(plan), plan.seed)
    plan = replace(plan, sizes=weights.config)
    model = spec.verify(calls.graph(plugins, plan, weights), after="graph")
    graph = text(model)
    yield "graph", graph
    for kinds in (WHOLE, RANKED):
        for plugin, item in calls.passes(plugins, kinds, plan, 0):
            report = passes.run(item, model, plugin)
            before, model = graph, report.model
            graph = text(model)
            told = graph if graph != before else "as before\n"
            yield f"{plugin}.{report.name}", f"{report.line()}\n{told}"


def text(model) -> str:
    """Inputs, outputs, weights and ops of `model`, one a line."""
    graph = model.graph
    lines = [f"{key}: {value}" for key, value in sorted(model.metadata_props.items())]
    lines += [f"function {f.domain}::{f.name}" for f in model.functions.values()]
    lines += [f"input  {typed(value)}" for value in graph.inputs]
    lines += [f"output {typed(value)}" for value in graph.outputs]
    for value in graph.initializers.values():
        recipe = getattr(value.const_value, "recipe", "(no recipe)")
        recipe = re.sub("sha256=[0-9a-f]+", "sha256=…", recipe)  # cosines differ between machines
        lines.append(f"weight {typed(value.const_value)} = {recipe}")
    for node in graph:
        inputs = ", ".join(value.name if value is not None else "-" for value in node.inputs)
        outputs = ", ".join(value.name or "-" for value in node.outputs)
        facts = "".join(f" {a.name}={a.value}" for a in sorted(node.attributes.values(), key=str))
        domain = f"{node.domain}::" if node.domain else ""
        lines.append(f"{outputs} = {domain}{node.op_type}({inputs}){facts}")
    return "\n".join(lines) + "\n"


def typed(value) -> str:
    return f"{value.name}: {value.dtype.name} {value.shape}"


@pytest.mark.parametrize(("preset", "quant"), BUILDS.items())
def test_graph_after_each_pass(preset, quant):
    """Graphs are what they were, op for op and name for name."""
    made = {}
    for number, (name, graph) in enumerate(stages(preset, quant)):
        made[f"{preset}-{quant}.{number:02}-{name.replace(' ', '')}.txt"] = graph
    if os.environ.get("INGOT_GOLDEN"):
        for old in FOLDER.glob(f"{preset}-{quant}.*"):
            old.unlink()
        for name, graph in made.items():
            (FOLDER / name).write_text(graph, encoding="utf-8")
    kept = {path.name: path.read_text("utf-8") for path in FOLDER.glob(f"{preset}-{quant}.*")}
    assert sorted(made) == sorted(kept)
    for name, graph in made.items():
        assert graph.splitlines() == kept[name].splitlines(), name
