"""The results of core.bench as a table, as a plot, and beside those of another run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import page, svg_plot
from .command import ConfigError, PlanError

SIZE = (760, 280)  # of a plot, in pixels
MEASURES = {
    "first_token_s": "time to first token",
    "between_tokens_s": "time between tokens",
    "tokens_per_second": "tokens a second",
}


def text(results: Mapping[str, Any]) -> str:
    """The page: what was measured, on what, and a line for each workload."""
    machine, engine = results["machine"], results["engine"]
    rows = [("workload", "first token (p90)", "limit", "between tokens (p90)", "limit",
             "tokens/s", "limit")]  # fmt: skip
    for row in results["rows"]:
        rate = row["tokens_per_second"]
        cells = [_times(row[key]) for key in ("first_token_s", "between_tokens_s")]
        limit = _share(f"{rate['limit']:.1f}", rate)
        rows.append((row["workload"], *cells[0], *cells[1], f"{rate['median']:.1f}", limit))
    memory = ", ".join(f"{key} {page.size(count)}" for key, count in engine["memory"].items())
    random = ", random and made at open" if engine["random_weights"] else ""
    told = [
        f"{engine['folder']}: {page.size(engine['weight_bytes_a_step'])} of weights a step"
        f"{random}, engine {engine['name']}, {_runs(engine)}",
        f"{_machine(results)}: reads {machine['read_bytes_per_second'] / 1e9:.2f} GB/s, "
        f"{machine['product']} does {machine['operations_per_second'] / 1e9:,.1f} GFLOP/s",
        f"memory: {memory}; opened in {engine['opening_s']:.2f} s",
        "a workload is requests at once x prompt tokens / output tokens, prompts random; medians; "
        "limits with the share of them that is reached",
    ]
    return "\n".join([*told, "", *_aligned(rows), *_warnings(results), *_ops(results)])


def _machine(results: Mapping[str, Any]) -> str:
    hardware = results["hardware"]
    return hardware["device"] or hardware["processor"]


def _runs(engine: Mapping[str, Any]) -> str:
    """How the engine ran."""
    threads = f"{engine['threads']} threads, " if engine["name"] == "cpu" else ""
    return f"{threads}kernels {engine['kernels']}, lag {engine['lag']}"


def _times(cell: Mapping[str, Any] | None) -> tuple[str, str]:
    """A time and its limit, where it was measured."""
    if cell is None:
        return "–", "–"
    return f"{_ms(cell['median'])} ({_ms(cell['p90'])})", _share(_ms(cell["limit"]), cell)


def _aligned(rows: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Columns under one another, to the right but for the first `left`."""
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:<{width}}" if i < left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, wide, strict=True))
        )
        for row in rows
    ]


def _ops(results: Mapping[str, Any]) -> list[str]:
    """The ops of a step of each workload with their kernels, where profile=true timed them."""
    lines = []
    for step in results["ops"]:
        total = sum(op["seconds"] for op in step["ops"])
        lines += ["", f"{step['workload']}: the ops of a step of {step['sequences']} sequences, "
                  f"one by one {_ms(total)}"]  # fmt: skip
        cells = [
            (op["name"], op["op"], op["kernel"] or "–", str(op["count"]), _ms(op["seconds"]),
             f"{op['seconds'] / total if total else 0:.1%}")
            for op in step["ops"]
        ]  # fmt: skip
        lines += _aligned([("ops", "op", "kernel", "count", "all", "share"), *cells], left=3)
    return lines


def _warnings(results: Mapping[str, Any]) -> list[str]:
    lines = []
    if any(row[key] and row[key]["share"] > 1 for row in results["rows"] for key in MEASURES):
        lines.append(
            "shares above 100%: limits count reads from memory, and what fits in the processor's "
            "caches is read faster; or the machine was busier when its rates were measured"
        )
    for row in results["rows"]:
        if (between := row["between_tokens_s"]) and min(between["samples"]) <= 0:
            lines.append(
                f"{row['workload']}: a batch of one token each took longer than one "
                f"of {row['output_tokens']}; the machine is too busy to tell the time between "
                "tokens: give more output_tokens and repeats"
            )
        if row["preemptions"]:
            lines.append(
                f"{row['workload']}: {row['preemptions']} preemptions, since the "
                "cache is too small for them; its times are those of a crowded cache"
            )
    return lines


def plot(results: Mapping[str, Any]) -> str:
    """Three plots in one SVG file: tokens a second, time between tokens, time to first token."""
    plots = []
    for key in reversed(MEASURES):
        rows = [row for row in results["rows"] if row[key]]
        if not rows:
            continue
        labels, cells = [row["workload"] for row in rows], [row[key] for row in rows]
        timed = key.endswith("_s")
        plots.append(
            svg_plot.columns(
                MEASURES[key],
                labels,
                {"measured (median)": [cell["median"] for cell in cells]},
                (lambda s: f"{s * 1000:.3g} ms") if timed else (lambda rate: f"{rate:,.4g}"),
                marks=[cell["limit"] for cell in cells],
                mark_name="limit of the machine",
                notes=[f"{cell['share']:.0%}" for cell in cells],
                axis="requests x prompt / output tokens",
                size=SIZE,
            )
        )
    return svg_plot.sheet(plots, [SIZE] * len(plots))


def read(path: str) -> dict[str, Any]:
    """The results in a file that core.bench wrote.

    Raises:
        ConfigError: it cannot be read.
        PlanError: it is none.
    """
    try:
        found = json.loads(Path(os.path.expanduser(path)).read_text("utf-8"))
        told = (found["format"], found["version"])
    except OSError as error:
        raise ConfigError(f"compare={path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise PlanError(f"compare={path} holds no results of core.bench: {error!r}") from error
    from .bench import FORMAT, VERSION

    if told != (FORMAT, VERSION):
        raise PlanError(
            f"compare={path} is {told[0]} version {told[1]}; this program reads {FORMAT} version "
            f"{VERSION}; measure it again"
        )
    return found


def compared(results: Mapping[str, Any], other: Mapping[str, Any], anyway: bool = False) -> str:
    """Ratios of this run to the other, row by row.

    Raises:
        PlanError: they are of unlike machines, models or batches, and not `anyway`.
    """
    try:
        unlike = _differences(results, other)
        if unlike and not anyway:
            raise PlanError(
                "the runs cannot be compared:\n" + "\n".join(unlike) + "\n"
                "measure both alike, or say compare_anyway=true"
            )
        return "\n".join([*unlike, *_ratios(results, other)])
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise PlanError(f"compare=: the other file lacks something: {error!r}") from error


def _differences(results: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """A sentence for everything but speed in which the runs differ."""
    pairs = [
        (f"hardware, {key}", results["hardware"][key], other["hardware"].get(key))
        for key in results["hardware"]
    ]
    pairs.append(("threads", results["engine"]["threads"], other["engine"]["threads"]))
    pairs += [
        (f"model, {key}", results["engine"]["model"].get(key), other["engine"]["model"].get(key))
        for key in ("layers", "width", "heads", "groups", "head_size", "vocab")
    ]
    pairs.append(
        ("workloads", *([row["workload"] for row in run["rows"]] for run in (results, other)))
    )
    return [
        f"{what}: {mine} here, {theirs} there" for what, mine, theirs in pairs if mine != theirs
    ]


def _ratios(results: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    theirs = {row["workload"]: row for row in other["rows"]}
    lines = ["this run over the other (times: below 1 is faster; tokens a second: above 1 is)"]
    for row in results["rows"]:
        name = row["workload"]
        if name not in theirs:
            lines.append(f"  {name}: not in the other run")
            continue
        ratios = [
            f"{said} {row[key]['median'] / theirs[name][key]['median']:.3f}"
            for key, said in MEASURES.items()
            if row[key] and theirs[name][key]
        ]
        lines.append(f"  {name}: {', '.join(ratios)}")
    return lines


def _ms(seconds: float) -> str:
    value = seconds * 1000
    if value < 0.1:
        return f"{value * 1000:.1f} µs"
    return (
        f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"
    )


def _share(limit: str, cell: Mapping[str, float]) -> str:
    return f"{limit}, {cell['share']:.0%}"
