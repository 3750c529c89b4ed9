"""The report of an engine as one HTML page that needs nothing from elsewhere.

Names come from checkpoints and plugins: all text goes through core/markup.py, and the page's own
policy lets a browser load nothing and run nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import page, svg_plot
from .layer_parts import PARTS, layer_of, part_of, stacked
from .markup import Markup, joined, table, tag
from .op_times import OpTime, OpTimes

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
NODES_SHOWN = 40  # of one reason of a pass
PLOT = (1000, 300)
STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0;background:#f4f6f8;color:#1d2530;font:15px/1.5 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:0 0 12px}p{margin:4px 0 12px}
.sub{color:#5b6675}section{background:#fff;border:1px solid #e1e6eb;border-radius:10px;
padding:20px 22px;margin-top:18px}.cards{display:flex;flex-wrap:wrap;gap:12px;margin-top:18px}
.card{background:#fff;border:1px solid #e1e6eb;border-radius:10px;padding:12px 18px;flex:1 1 150px}
.card b{display:block;font-size:20px;white-space:nowrap}.card span{color:#5b6675;font-size:13px}
table{border-collapse:collapse;width:100%;font-size:13px}th{text-align:left;color:#5b6675;
font-weight:600}th,td{padding:4px 12px 4px 0;border-bottom:1px solid #edf0f3;vertical-align:top}
td{overflow-wrap:anywhere}.number{text-align:right;white-space:nowrap}.wide{overflow-x:auto}
svg{width:100%;height:auto}summary{cursor:pointer;color:#3b6fd4;margin:6px 0}
details details{margin-left:18px}code{font:12.5px ui-monospace,monospace;overflow-wrap:anywhere}
.grid td{padding:1px;border:0}.grid th{width:1%;font-weight:400;padding:1px 6px 1px 0;
white-space:nowrap}
.cell{height:16px;min-width:5px;border-radius:3px}.key{display:inline-block;width:12px;height:12px;
border-radius:3px;margin:0 6px 0 14px;vertical-align:-1px}
"""


def text(facts: Mapping[str, Any], folder: Path, times: OpTimes | str) -> str:
    """The page of an engine whose manifest is `facts`; `times`, or why there are none."""
    model = facts["model"]
    title = folder.resolve().name
    said = (
        f"{model['layers']} layers, width {model['width']}, {model['heads']} heads, "
        f"{model['groups']} key/value heads of {model['head_size']}, vocabulary {model['vocab']}, "
        f"{model['dtype']}; engine {facts['engine']['name']}, {facts['ranks']} rank(s), built with "
        f"ingot {facts['ingot']}"
    )
    tensors = _tensors(facts)
    body = [
        tag("h1", title),
        tag("p", said, class_="sub"),
        _cards(facts, tensors),
        _section("Memory", _memory(facts, tensors)),
        _section("Time", _times(times)),
        _section("Precision of weights", _precision(tensors), _weights(facts)),
        _section("Cache groups", _groups(facts)),
        _section("Passes", _passes(facts)),
        _section("Config, and where each value comes from", _config(facts)),
        _section("Plugins and tools", _plugins(facts)),
    ]  # fmt: skip
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', tag('main', body)), lang='en')}\n"


def _section(title: str, *children: str | Sequence[str]) -> Markup:
    return tag("section", tag("h2", title), *children)


def _tensors(facts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The tensors of all ranks by name; of several ranks, with the rank before it."""
    ranks = sorted(facts["tensors"].items())
    if len(ranks) == 1:
        return dict(ranks[0][1])
    return {f"{name} ({rank})": t for rank, found in ranks for name, t in found.items()}


def _cards(facts: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Any]]) -> Markup:
    limits = facts["limits"]
    kinds = sorted({tensor["dtype"] for tensor in tensors.values() if tensor["dtype"] != "f32"})
    shown = [
        (page.size(sum(tensor["bytes"] for tensor in tensors.values())), "of weights"),
        (", ".join(kinds) or "f32", "their types"),
        (page.size(_token_bytes(facts)), "of cache for a token"),
        (f"{limits['max_sequences']} × {limits['max_length']:,}", "sequences × tokens at most"),
        (f"{limits['max_tokens']:,}", "tokens in a step at most"),
    ]
    return tag("div", [tag("div", tag("b", b), tag("span", s), class_="card") for b, s in shown],
               class_="cards")  # fmt: skip


def _token_bytes(facts: Mapping[str, Any]) -> float:
    return sum(group["bytes_per_page"] / group["page_tokens"] for group in facts["cache_groups"])


def _memory(facts: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Any]]) -> Markup:
    """By kind, and by layer: weights, and the cache of one sequence of the greatest length."""
    limits, kinds = facts["limits"], {}
    for tensor in tensors.values():
        kinds[tensor["dtype"]] = kinds.get(tensor["dtype"], 0) + tensor["bytes"]
    rows = [(f"weights, {kind}", size, page.size(size)) for kind, size in sorted(kinds.items())]
    cache = _token_bytes(facts) * limits["max_length"]
    rows.append(("cache of one longest sequence", cache, page.size(cache)))
    name = "activations, at most about"
    if name in facts["memory"]:
        size = facts["memory"][name]
        rows.append(("activations of a step, about", size, page.size(size)))
    labels, series = stacked(
        ((name, part_of(name), tensor["bytes"]) for name, tensor in tensors.items()), PARTS
    )
    most = max((sum(row) for row in zip(*series.values(), strict=True)), default=0)
    unit = max(u for u in (1, 1 << 10, 1 << 20, 1 << 30) if u <= max(1, most))
    by_layer = svg_plot.columns(
        "Weights by layer", labels, series, page.size, axis="layer", unit=unit, size=PLOT
    )
    return joined(Markup(svg_plot.bars("Memory by kind", rows, PLOT[0])), Markup(by_layer))


def _times(times: OpTimes | str) -> Markup:
    if isinstance(times, str):
        return tag("p", times)
    said = (
        f"Measured when this page was written: {times.threads} threads, kernels {times.kernels}, "
        f"one sequence of random tokens, medians of {times.repeats}."
    )
    order = _by_op([*times.prompt, *times.answer])
    main = list(order)[: len(svg_plot.PALETTE) - 1]
    return joined(
        tag("p", said, class_="sub"),
        _phase(f"A prompt of {times.prompt_tokens} tokens", times.prompt, main),
        _phase(f"{times.answer_tokens} tokens after it, one at a time", times.answer, main),
    )


def _by_op(ops: Sequence[OpTime]) -> dict[str, tuple[float, int]]:
    """Seconds and calls of every operator, the longest first."""
    sums: dict[str, tuple[float, int]] = {}
    for op in ops:
        seconds, calls = sums.get(_short(op), (0.0, 0))
        sums[_short(op)] = (seconds + op.seconds, calls + op.calls)
    return dict(sorted(sums.items(), key=lambda entry: -entry[1][0]))


def _phase(title: str, ops: Sequence[OpTime], main: Sequence[str]) -> Markup:
    """Time by layer and op of one phase, `main` ops in colours, and by op over all layers."""
    sums = _by_op(ops)
    total = sum(seconds for seconds, _ in sums.values()) or 1.0
    parts = ((op, _short(op) if _short(op) in main else "others") for op in ops)
    labels, series = stacked(((op.name, part, op.seconds) for op, part in parts), [*main, "others"])
    rows = [
        (name, seconds, f"{_seconds(seconds)}, {seconds / total:.1%}, {calls:,} calls")
        for name, (seconds, calls) in sums.items()
    ]
    by_layer = svg_plot.columns(
        f"{title}: {_seconds(total)} by layer", labels, series, _seconds, axis="layer", size=PLOT
    )
    return joined(Markup(by_layer), Markup(svg_plot.bars(f"{title}: by op", rows, PLOT[0])))


def _short(op: OpTime) -> str:
    return op.op.rpartition("::")[2]


def _seconds(value: float) -> str:
    return f"{value * 1e6:.3g} µs" if value < 1e-3 else f"{value * 1e3:.3g} ms"


def _precision(tensors: Mapping[str, Mapping[str, Any]]) -> Markup:
    """A cell for every tensor of a layer, coloured by its type."""
    layers = sorted({n for name in tensors if (n := layer_of(name)) is not None})
    kinds = sorted({tensor["dtype"] for tensor in tensors.values()})
    colours = {
        kind: svg_plot.PALETTE[place % len(svg_plot.PALETTE)] for place, kind in enumerate(kinds)
    }
    rows: dict[str, dict[int, str]] = {}
    for name in tensors:
        if (layer := layer_of(name)) is not None:
            rows.setdefault(re.sub(r"^layers\.\d+\.", "", name), {})[layer] = name
    key = [
        joined(tag("span", class_="key", style=f"background:{colours[kind]}"), kind)
        for kind in kinds
    ]
    lines = [
        tag("tr", tag("th", short), [_cell(found.get(n), tensors, colours) for n in layers])
        for short, found in rows.items()
    ]
    grid = tag("div", tag("table", lines, class_="grid"), class_="wide")
    return joined(tag("p", "A column for each layer; point at a cell for its tensor.", *key), grid)


def _cell(name: str | None, tensors, colours: Mapping[str, str]) -> Markup:
    if name is None:
        return tag("td")
    tensor = tensors[name]
    hint = f"{name}: {tensor['dtype']} {list(tensor['shape'])}, {page.size(tensor['bytes'])}"
    style = f"background:{colours[tensor['dtype']]}"
    return tag("td", tag("div", class_="cell", style=style, title=hint))


def _weights(facts: Mapping[str, Any]) -> Markup:
    listed = page.weights(facts["tensors"]).splitlines()[1:]
    return tag("details", tag("summary", "Every tensor, its shape and where it comes from"),
               [tag("div", tag("code", line.strip())) for line in listed])  # fmt: skip


def _groups(facts: Mapping[str, Any]) -> Markup:
    limits = facts["limits"]
    return table(
        ["group", "kind", "tensors", "tokens a page", "window", "bytes a page", "longest sequence"],
        [
            [group["name"], group["kind"], str(len(group["tensors"])), str(group["page_tokens"]),
             str(group["window"] or "all tokens"), page.size(group["bytes_per_page"]),
             page.size(group["bytes_per_page"] / group["page_tokens"]
                       * min(limits["max_length"], group["window"] or limits["max_length"]))]
            for group in facts["cache_groups"]
        ],
        numbers=(2, 3, 4, 5, 6),
    )  # fmt: skip


def _passes(facts: Mapping[str, Any]) -> list[Markup]:
    """A line for each pass, which opens on its refusals."""
    return [
        table(
            ["pass", "of", "", "rewritten", "refused", "unlike"],
            [
                [entry["pass"], entry["plugin"],
                 "required" if entry["required"] else "where possible",
                 str(len(entry["rewritten"])), str(len(entry["refused"])),
                 str(entry.get("unlike") or 0)]
                for entry in facts["passes"]
            ],
            numbers=(3, 4, 5),
        ),
        *(_details(entry) for entry in facts["passes"] if entry["refused"] or entry["rewritten"]),
    ]  # fmt: skip


def _details(entry: Mapping[str, Any]) -> Markup:
    parts = []
    for what in ("refused", "rewritten"):
        reasons: dict[str, list[str]] = {}
        for node, why in entry[what]:
            reasons.setdefault(why, []).append(node)
        for why, nodes in list(reasons.items())[:NODES_SHOWN]:
            parts.append(tag("div", f"{what} ", tag("code", page.grouped(nodes)), f": {why}"))
        if len(reasons) > NODES_SHOWN:
            parts.append(tag("div", f"and {len(reasons) - NODES_SHOWN} more, in engine.json"))
    return tag("details", tag("summary", f"{entry['plugin']} {entry['pass']}"), parts)


def _config(facts: Mapping[str, Any]) -> Markup:
    origin = facts["provenance"]
    rows = [
        [tag("code", key), tag("code", "null" if value is None else str(value)),
         origin.get(key, "default")]
        for key, value in page.leaves(facts["config"])
        if not key.startswith("model.sizes.")
    ]  # fmt: skip
    return table(["key", "value", "from"], rows)


def _plugins(facts: Mapping[str, Any]) -> Markup:
    rows = [
        [f"{p['kind']}.{p['name']}", tag("code", p["class"]), f"{p['package']} {p['version']}"]
        for p in facts["plugins"]
    ]
    rows += [[name, "", version] for name, version in sorted(facts["tools"].items())]
    rows += [[name, "", str(value)] for name, value in sorted(facts["hardware"].items())]
    return table(["name", "class", "version"], rows)
