"""The results of core.bench as a table, as a plot, and beside those of another run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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
    """The page: what was measured, on what, and a line for each number of sequences."""
    machine, engine = results["machine"], results["engine"]
    first = results["rows"][0]
    rows = [("sequences", "first token (p90)", "limit", "between tokens (p90)", "limit",
             "tokens/s", "limit")]  # fmt: skip
    for row in results["rows"]:
        start, step, rate = (row[key] for key in MEASURES)
        rows.append(
            (
                str(row["concurrency"]),
                f"{_ms(start['median'])} ({_ms(start['p90'])})",
                _share(_ms(start["limit"]), start),
                f"{_ms(step['median'])} ({_ms(step['p90'])})",
                _share(_ms(step["limit"]), step),
                f"{rate['median']:.1f}",
                _share(f"{rate['limit']:.1f}", rate),
            )
        )
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row, wide, strict=True)) for row in rows]
    told = [
        f"{engine['folder']}: {page.size(engine['weight_bytes_a_step'])} of weights a step, "
        f"{engine['threads']} threads, kernels {engine['kernels']}",
        f"{results['hardware']['processor']}: reads {machine['read_bytes_per_second'] / 1e9:.2f} "
        f"GB/s, {machine['product']} does {machine['operations_per_second'] / 1e9:.1f} GFLOP/s",
        f"{first['prompt_tokens']} random prompt tokens, {first['output_tokens']} generated; "
        "medians; limits with the share of them that is reached",
    ]
    return "\n".join([*told, "", *lines, *_warnings(results)])


def _warnings(results: Mapping[str, Any]) -> list[str]:
    lines = []
    if any(row[key]["share"] > 1 for row in results["rows"] for key in MEASURES):
        lines.append(
            "shares above 100%: limits count reads from memory, and what fits in the processor's "
            "caches is read faster; or the machine was busier when its rates were measured"
        )
    for row in results["rows"]:
        if min(row["between_tokens_s"]["samples"]) <= 0:
            lines.append(
                f"{row['concurrency']} sequences: a batch of one token each took longer than one "
                f"of {row['output_tokens']}; the machine is too busy to tell the time between "
                "tokens: give more output_tokens and repeats"
            )
        if row["preemptions"]:
            lines.append(
                f"{row['concurrency']} sequences: {row['preemptions']} preemptions, since the "
                "cache is too small for them; its times are those of a crowded cache"
            )
    return lines


def plot(results: Mapping[str, Any]) -> str:
    """Three plots in one SVG file: tokens a second, time between tokens, time to first token."""
    labels = [str(row["concurrency"]) for row in results["rows"]]
    plots = []
    for key in reversed(MEASURES):
        cells = [row[key] for row in results["rows"]]
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
                axis="sequences in flight",
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
    pairs += [
        (key.replace("_", " "), *([row[key] for row in run["rows"]] for run in (results, other)))
        for key in ("concurrency", "prompt_tokens", "output_tokens")
    ]
    return [
        f"{what}: {mine} here, {theirs} there" for what, mine, theirs in pairs if mine != theirs
    ]


def _ratios(results: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    theirs = {row["concurrency"]: row for row in other["rows"]}
    lines = ["this run over the other (times: below 1 is faster; tokens a second: above 1 is)"]
    for row in results["rows"]:
        count = row["concurrency"]
        if count not in theirs:
            lines.append(f"  {count} sequences: not in the other run")
            continue
        ratios = [
            f"{name} {row[key]['median'] / theirs[count][key]['median']:.3f}"
            for key, name in MEASURES.items()
        ]
        lines.append(f"  {count} sequences: {', '.join(ratios)}")
    return lines


def _ms(seconds: float) -> str:
    value = seconds * 1000
    return (
        f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"
    )


def _share(limit: str, cell: Mapping[str, float]) -> str:
    return f"{limit}, {cell['share']:.0%}"
