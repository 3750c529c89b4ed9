"""Say what a build would give:  python -m core.plan model=llama2 quant=fp8 checkpoint=…

The build's own steps, stopped before `lower`: exact shapes and bytes of every rank, what every
rewrite does where, the cache that a given memory leaves. No weight is read, nothing is written
but the file that json=… names.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import hydra

from . import build, byte_size, command, page, resolution
from .command import ConfigError, PlanError

LARGEST = 5  # activations on the page


def planned(plan, plugins, memory: int | None = None, cache_bytes: int | None = None) -> dict:
    """What the build would give; `memory` bytes of each rank, `cache_bytes` of all together.

    Raises:
        PlanError: what a build raises before it writes.
    """
    import gc

    gc.disable()  # the graph lives to the end, and looking through it would take a quarter more
    try:
        ranks = [
            (part, _rank(part, memory, cache_bytes))
            for part in build.prepared(plan, plugins, Silent())
        ]
    finally:
        gc.enable()
    part = ranks[-1][0]
    return {
        **_head(part, plugins),
        "passes": [{**report.entry(), "unlike": report.unlike} for report in part.reports],
        "ranks": [rank for _, rank in ranks],
        "disk": _disk(ranks, part.files),
    }


def _head(part, plugins) -> dict[str, Any]:
    """What a manifest says too."""
    from . import DISTRIBUTION, __version__, provenance

    plan = part.plan
    facts = json.loads(part.whole.metadata_props["ingot.model"])
    return {
        DISTRIBUTION: __version__,
        "model": facts,
        "limits": _limits(plan, facts),
        "config": plan.config,
        "provenance": provenance.complete(plan.provenance, plan.config),
        "plugins": list(plugins.list),
    }


def _limits(plan, facts: dict) -> dict[str, int]:
    return {
        "max_tokens": plan.max_tokens,
        "max_sequences": plan.max_sequences,
        "max_length": facts["max_length"],
    }


def _rank(part, memory: int | None, cache_bytes: int | None) -> dict[str, Any]:
    """The tensors, the values of the largest step and the bytes of one rank."""
    from . import cache_pages, made_weight, manifest, shapes
    from .memory import Memory
    from .op_line import dtype_word

    shapes.infer(part.model)
    needs = Memory(part.model, part.plan)
    _, made = made_weight.split(needs.weights, _engine(part.plan))
    groups, limits = manifest.cache_groups(part.model), _limits(part.plan, needs.facts)
    ledger = needs.ledger()
    fixed = ledger["weights"] + ledger["activations, at most about"] + needs.field_bytes()
    full = cache_pages.wanted_bytes(groups, limits)
    given = full
    if cache_bytes is not None:
        given = cache_bytes // part.plan.ranks
    elif memory is not None:
        given = max(0, min(full, memory - fixed))
    pages = cache_pages.pages(groups, limits, given)
    return {
        "rank": part.rank,
        "device": needs.device(),
        "nodes": len(needs.nodes),
        "tensors": {
            tensor.name: {
                "dtype": dtype_word(tensor.dtype),
                "shape": list(tensor.shape),
                "bytes": tensor.nbytes,
                "recipe": tensor.recipe,
                **({"made": True} if tensor.name in made else {}),
            }
            for tensor in needs.weights
        },
        "values": needs.values(),
        "memory": {**ledger, "step fields": needs.field_bytes()},
        "cache": {
            "groups": [{**group, "pages": n} for group, n in zip(groups, pages, strict=True)],
            "bytes": sum(
                n * group["bytes_per_page"] for group, n in zip(groups, pages, strict=True)
            ),
            "tokens": cache_pages.tokens(groups, pages),
            "full bytes": full,  # max_sequences sequences of max_length
        },
        "memory limit": memory,
        "short": _short(fixed, memory, groups, pages),
    }


def _short(fixed: int, memory: int | None, groups: list[dict], pages: list[int]) -> int:
    """Bytes that are missing for weights, activations and two pages of every group."""
    if memory is None or all(count >= 2 for count in pages):
        return 0
    least = fixed + sum(2 * group["bytes_per_page"] for group in groups)
    return max(1, least - memory)


def _engine(plan) -> str:
    """The engine that a build would be for; engine=auto takes what this machine has."""
    from . import native

    name = plan.config["engine"]["name"]
    if name != "auto":
        return name
    return "cuda" if plan.ranks == 1 and native.devices() else "cpu"


def _disk(ranks: list, files) -> dict[str, int]:
    """Exact bytes of the files that hold weights, or come from the checkpoint."""
    from . import made_weight, weight_layout
    from .memory import Memory

    found = {}
    for part, _ in ranks:
        stored, _ = made_weight.split(Memory(part.model, part.plan).weights, _engine(part.plan))
        found[f"rank{part.rank}/{weight_layout.NAME}"] = weight_layout.file_bytes(stored)
    return found | {Path(file).name: Path(file).stat().st_size for file in files}


class Silent(build.Progress):
    """Steps of which nothing is printed."""

    def __call__(self, text: str) -> None:
        pass


def text(plan: dict) -> str:
    """The page."""
    model, limits = plan["model"], plan["limits"]
    sections = [
        f"{model['layers']} layers, width {model['width']}, {model['heads']} heads, "
        f"{model['groups']} key/value heads of {model['head_size']}, vocabulary {model['vocab']}, "
        f"{model['dtype']}; at most {limits['max_sequences']} sequences of "
        f"{limits['max_length']} tokens, {limits['max_tokens']} tokens a step",
        page.config(plan["config"], plan["provenance"], plan["plugins"]),
        page.passes(plan["passes"]),
        page.weights({f"rank{rank['rank']}": rank["tensors"] for rank in plan["ranks"]}),
        *(_values(rank) for rank in plan["ranks"][:1]),
        *(_memory(rank, limits) for rank in plan["ranks"]),
        "\n".join(
            [
                "disk",
                *page.table([(name, _exact(size)) for name, size in plan["disk"].items()]),
                "  graph, plan and manifest, which hold no weights, come on top",
                *(
                    ["  dump=true: a build keeps its graphs; a plan writes none"]
                    * plan["config"]["dump"]
                ),
            ]
        ),
    ]
    return "\n\n".join(sections)


def _values(rank: dict) -> str:
    alike: dict[tuple, list[str]] = {}
    for value in sorted(rank["values"], key=lambda value: -value["bytes"]):
        key = (re.sub(r"\d+", "#", value["name"]), value["dtype"], value["dims"], value["bytes"])
        alike.setdefault(key, []).append(value["name"])
    rows = [
        (page.grouped(names), f"{dtype} [{dims}]  {_exact(size)}{' each' * (len(names) > 1)}")
        for (_, dtype, dims, size), names in list(alike.items())[:LARGEST]
    ]
    title = f"largest of {len(rank['values'])} activations, made by {rank['nodes']} ops"
    return "\n".join([title, *page.table(rows)])


def _memory(rank: dict, limits: dict) -> str:
    said, cache = rank["memory"], rank["cache"]
    rows = [(name, _exact(size)) for name, size in said.items()]
    for group in cache["groups"]:
        rows.append(
            (
                f"cache group {group['name']}",
                f"{group['pages']:,} pages of {group['page_tokens']} tokens, "
                f"{_exact(group['bytes_per_page'])} each",
            )
        )
    fit = "all" if cache["bytes"] >= cache["full bytes"] else "not all"
    rows.append(("cache, all pages", _exact(cache["bytes"])))
    rows.append(
        (
            "cache, tokens",
            f"{cache['tokens']:,}; {limits['max_sequences']} sequences of {limits['max_length']} "
            f"would take {_exact(cache['full bytes'])}, {fit} of it is there",
        )
    )
    total = cache["bytes"] + sum(
        said[name] for name in ("weights", "activations, at most about", "step fields")
    )
    limit = "" if rank["memory limit"] is None else f" of {_exact(rank['memory limit'])}"
    rows.append(("together", _exact(total) + limit))
    return "\n".join([f"memory of rank {rank['rank']}, on the {rank['device']}", *page.table(rows)])


def _exact(count: int) -> str:
    return f"{count:,} bytes ({page.size(count)})" if count >= 1024 else f"{count} bytes"


def check_fits(plan: dict) -> None:
    """Raises a PlanError where a rank's memory does not hold weights, activations and a cache."""
    for rank in plan["ranks"]:
        if rank["short"]:
            raise PlanError(
                f"memory={rank['memory limit']}: rank {rank['rank']} needs {_exact(rank['short'])} "
                "more for its weights, the activations of a step and the least cache; take a "
                "quant, more ranks, or fewer max_tokens"
            )
        if least := [group for group in rank["cache"]["groups"] if group["pages"] < 2]:
            raise PlanError(
                f"cache_bytes: rank {rank['rank']} gets {least[0]['pages']} pages of group "
                f"{least[0]['name']}, which needs two at the very least; give more"
            )


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="plan")
def task(cfg) -> None:
    from hydra.core.hydra_config import HydraConfig

    from .provenance import sources

    started = time.perf_counter()
    memory, cache = (byte_size.parse(key, cfg[key]) for key in ("memory", "cache_bytes"))
    if memory is not None and cache is not None:
        raise ConfigError("memory and cache_bytes are both given; give one: memory counts the rest")
    resolved = resolution.resolve(cfg, sources("plan", HydraConfig.get().overrides.task))
    plan = planned(*resolved, memory, cache)
    if cfg.json is not None:
        command.write("json", cfg.json, json.dumps(plan, indent=1, default=str) + "\n")
    print(text(plan))
    print(f"\nplanned in {time.perf_counter() - started:.2f} s; no weight was read")
    check_fits(plan)


def main() -> None:
    command.run(task, resolution.errors)


if __name__ == "__main__":
    from core.plan import main

    main()
