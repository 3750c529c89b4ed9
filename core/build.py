"""Build an engine:  python -m core.build model=llama2 quant=fp8 checkpoint=… out=…"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import hydra

from . import command, resolution
from .command import ConfigError
from .hookspecs import RANKED, WHOLE

if TYPE_CHECKING:
    import onnx_ir as ir

    from .report import Report
    from .resolution import Plan


def build(plan, plugins) -> dict:
    """The manifest of the engine folder plan.out, which is there."""
    from . import calls, engine_folder, manifest

    step = Progress()
    with engine_folder.appearing(plan.out) as folder:
        for part in prepared(plan, plugins, step, folder / "dump" if plan.dump else None):
            calls.lower(plugins, part.plan, part.rank, part.model, folder / f"rank{part.rank}")
            step(f"rank {part.rank}: lowered")
        written = manifest.write(folder, part.plan, plugins, part.model, part.reports, part.files)
    step(f"{plan.out}: complete")
    return written


def prepared(plan, plugins, step: Progress, kept: Path | None = None) -> Iterator[Part]:
    """Each rank's graph with every rewrite done, ready for `lower`. Each line is one step.

    No weight has been read. With `kept`, the graph after every pass is in that folder.
    """
    from . import calls, checkpoint, ops, passes, spec

    reports = []
    ops.register(calls.op_libraries(plugins))
    weights = checkpoint.open_checkpoint(plan.checkpoint, random_config(plan), plan.seed)
    plan = replace(plan, sizes=weights.config, files=tuple(weights.files))
    calls.conflicts(plugins, plan)
    step(f"checkpoint {plan.checkpoint}: {len(weights.names())} tensors")
    model = spec.verify(calls.graph(plugins, plan, weights), after="graph")
    step(f"graph: {len(model.graph)} nodes, {len(model.graph.initializers)} weights")
    if kept:
        passes.dump(model, kept, "graph")
    for plugin, item in calls.passes(plugins, WHOLE, plan, rank=0):
        reports.append(passes.run(item, model, plugin, kept))
        model = reports[-1].model
        step.told(reports[-1])
    for rank in range(plan.ranks):
        part = model.clone()
        for plugin, item in calls.passes(plugins, RANKED, plan, rank):
            reports.append(passes.run(item, part, plugin, kept))
            reports[-1].rank, part = rank, reports[-1].model
            step.told(reports[-1])
        yield Part(plan, rank, part, model, reports, weights.files)


@dataclass(frozen=True)
class Part:
    """One rank of a build before anything is lowered."""

    plan: Plan  # with the sizes and files of the checkpoint
    rank: int
    model: ir.Model  # of this rank
    whole: ir.Model  # before it was divided among ranks
    reports: Sequence[Report]  # of all passes so far
    files: Sequence[Path]  # of the checkpoint, to be copied


class Progress:
    """Prints one line a step, with the seconds that it took."""

    def __init__(self):
        self.last = time.perf_counter()

    def __call__(self, text: str) -> None:
        now = time.perf_counter()
        print(f"{now - self.last:7.2f} s  {text}", flush=True)
        self.last = now

    def told(self, report) -> None:
        """A line for a rewrite; none for one that may change nothing, and did: `show` says why."""
        if report.required or report.rewritten:
            self(f"{report.plugin}: {report.line()}")


def random_config(plan) -> dict | None:
    """The config.json that a preset gives for `model.size`, for a checkpoint of random weights.

    Raises:
        ConfigError: no such size, or none although the weights are random, or one although not.
    """
    from .diagnosis import nearest

    given = plan.config["model"].get("sizes") or {}
    sizes, size = (
        {str(key): value for key, value in given.items()},
        plan.config["model"].get("size"),
    )
    listing = ", ".join(sizes) or "none"
    if plan.checkpoint != "random":
        if size is None:
            return None
        raise ConfigError(
            f"model.size={size}: it is for checkpoint=random; the sizes of {plan.checkpoint} come "
            "from its config.json, so leave model.size out"
        )
    if size is None:
        raise ConfigError(f"checkpoint=random needs model.size (this preset has: {listing})")
    if str(size) not in sizes:
        hint = nearest(str(size), sizes)
        raise ConfigError(
            f"model.size={size}: this preset has no such size (it has: {listing}){hint}"
        )
    return dict(sizes[str(size)])


def summary(plan, written: dict) -> str:
    """What was built, in a few lines, and the command to run next."""
    tensors = [t for rank in written["tensors"].values() for t in rank.values()]
    kinds: dict[str, list[int]] = {}
    for tensor in tensors:
        counted = kinds.setdefault(tensor["dtype"], [0, 0])
        counted[0] += 1
        counted[1] += tensor["bytes"]
    lines = [f"{sum(t['bytes'] for t in tensors):,} bytes of weights in {len(tensors)} tensors"]
    lines += [f"  {kind:8} {count:6} tensors  {size:>16,} bytes"
              for kind, (count, size) in sorted(kinds.items())]  # fmt: skip
    for entry in written["passes"]:
        done, kept = len(entry["rewritten"]), len(entry["refused"])
        if entry["plugin"].startswith("quant.") and done + kept:
            name = entry["plugin"]
            name += f": {entry['pass']}" if entry["pass"] != name else ""
            lines.append(f"{name}: {done} quantized, {kept} left as they are")
    if because := written["engine"].get("because"):
        lines.append(f"engine={written['engine']['name']}: {because}")
    lines.append(f'next: python -m core.run engine={plan.out} prompt="…"')
    return "\n".join(lines)


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="build")
def task(cfg) -> None:
    from hydra.core.hydra_config import HydraConfig

    from .provenance import sources

    resolved = resolution.resolve(cfg, sources("build", HydraConfig.get().overrides.task))
    print(summary(resolved[0], build(*resolved)))


def main() -> None:
    command.run(task, resolution.errors)


if __name__ == "__main__":
    from core.build import main

    main()
